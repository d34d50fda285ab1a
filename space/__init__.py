"""The Gradio app: chat and blind battles. It speaks HTTP to the gateway and never loads a model."""
