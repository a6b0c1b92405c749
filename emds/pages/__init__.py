"""Results as HTML pages that stand alone: images inline, no script, nothing from elsewhere."""
