"""Makes a two-layer Llama with random weights and the tokenizer of a GGUF file.

Run by the Python of the transformers virtualenv: `python tiny_llama.py MODEL.gguf FOLDER`.
It answers with a few random words at once: enough to learn how its server behaves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

EVERY_NTH_TOKEN_ENDS = 16
"""Random weights would never choose the one real end, and each answer would run to its limit."""


def main(gguf: Path, folder: Path) -> None:
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf} carries no chat template")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    ends = range(tokenizer.eos_token_id, len(tokenizer), EVERY_NTH_TOKEN_ENDS)
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=list(ends), pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
