"""What happens to segments once they are found: small ones join others, sections are linked."""
