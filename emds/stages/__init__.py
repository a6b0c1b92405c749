"""One function for each command, composed of the layers below."""
