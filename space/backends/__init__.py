"""Where the page's answers come from."""
