"""Our plugin for vLLM on a CPU: LoRA, sampling, seeds."""
