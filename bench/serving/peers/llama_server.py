"""llama.cpp's server from xllamacpp, which wants AVX2 alone; told as the prebuilt program is, by the same options.

python -m bench.serving.peers.llama_server FOLDER --model FILE --port N ...

FOLDER has the package xllamacpp.
"""

import argparse
import signal
import sys

TYPES = {"f16": "GGML_TYPE_F16", "f32": "GGML_TYPE_F32"}


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    for name in ("--model", "--host", "--cache-type-k", "--cache-type-v"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--parallel", "--ctx-size", "--threads", "--threads-http", "--cache-ram"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--jinja", "--offline", "--lora-init-without-apply"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--lora", default="")
    told = parser.parse_args()
    sys.path.insert(0, told.folder)
    import xllamacpp  # pyright: ignore[reportMissingImports]

    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = told.model, [told.host], told.port
    params.n_parallel, params.n_ctx, params.n_threads_http = told.parallel, told.ctx_size, told.threads_http
    params.use_jinja, params.offline, params.cache_ram_mib = told.jinja, told.offline, told.cache_ram
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = told.threads
    params.cache_type_k = getattr(xllamacpp.ggml_type, TYPES[told.cache_type_k])
    params.cache_type_v = getattr(xllamacpp.ggml_type, TYPES[told.cache_type_v])
    params.lora_init_without_apply = told.lora_init_without_apply
    adapters = []
    for path in filter(None, told.lora.split(",")):
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0 if told.lora_init_without_apply else 1.0
        adapters.append(adapter)
    params.lora_adapters = adapters
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
