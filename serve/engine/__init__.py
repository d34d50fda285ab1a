"""vLLM: started, watched, asked, and extended on a CPU."""
