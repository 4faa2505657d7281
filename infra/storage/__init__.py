"""What is kept: keys, artefacts, image repositories."""
