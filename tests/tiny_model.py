"""One layer of random weights behind the default model's tokenizer: a server of it costs what is not the model."""
import json
from pathlib import Path

from server_process import ServerProcess

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_size": 64,
          "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
          "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
          "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}


def make_tiny_model(program, folder):
    """Writes it to `folder`; returns the flags that `sgl serve` needs for it."""
    server = ServerProcess(program)  # of the default model
    info = json.loads(server.get("/get_model_info"))
    server.stop()
    Path(folder, "config.json").write_text(json.dumps({**CONFIG, "vocab_size": info["vocab_size"]}), encoding="utf-8")
    return ["--model-path", folder, "--load-format", "dummy", "--tokenizer-path", info["tokenizer_path"],
            "--served-model-name", "tiny"]
