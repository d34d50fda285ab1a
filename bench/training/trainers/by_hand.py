"""TRL's SFTTrainer tuned by hand: the script that somebody writes who knows its settings, and nothing of ours.

python bench/training/trainers/by_hand.py TOLD.json
"""

import json
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)


def main(path: str) -> None:
    """Trains as the file at `path` says and saves the adapter, or the model of a full fine-tune."""
    told = json.loads(Path(path).read_text())
    wide = told["method"] == "full" or not told["bf16"]
    model = AutoModelForCausalLM.from_pretrained(
        told["base"],
        dtype=torch.float32 if wide else torch.bfloat16,
        quantization_config=NF4 if told["method"] == "qlora" else None,
        device_map={"": told["device"]},
    )
    lora = LoraConfig(r=told["rank"], lora_alpha=told["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=told["output"],
            use_cpu=told["device"] == "cpu",
            bf16=told["bf16"],
            num_train_epochs=told["epochs"],
            max_steps=told["max_steps"] or -1,
            per_device_train_batch_size=told["batch_size"],
            learning_rate=told["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=told["warmup"],
            packing=told["packing"],
            max_length=told["max_length"],
            gradient_checkpointing=told["gradient_checkpointing"],
            dataloader_pin_memory=told["device"] != "cpu",
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=load_dataset(told["rows"], split="train"),
        processing_class=AutoTokenizer.from_pretrained(told["base"]),
        peft_config=None if told["method"] == "full" else lora,
    )
    trainer.train()
    trainer.save_model(told["output"])


if __name__ == "__main__":
    main(sys.argv[1])
