"""Taking a persona elsewhere: files for other programs, a page for a browser, and the proof that they say the same."""
