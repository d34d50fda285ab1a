"""What OpenAI's requests mean to the engine: what would be dropped is refused, and what it answers is checked."""
