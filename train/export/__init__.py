"""An adapter in the forms that other programs read: GGUF, Ollama, merged weights, plain PEFT."""
