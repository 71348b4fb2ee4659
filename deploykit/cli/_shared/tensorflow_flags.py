"""Flags of ``tensorflow_model_server``, and what becomes of each here.

Source: its ``main.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """A flag.

    Attributes:
        name: Its name, without the dashes.
        kind: Type of its value.
        default: Value when it is not given.
        help: What it does here; "" if it does nothing.
        note: Why it does nothing, or is refused.
        refused: Whether a server without it would not be what was asked for.
    """

    name: str
    kind: type
    default: Any
    help: str = ""
    note: str = ""
    refused: bool = False


FLAGS = (
    Flag("port", int, 8500, "port of gRPC; 0: none"),
    Flag("grpc_socket_path", str, "", "Unix socket of gRPC"),
    Flag("rest_api_port", int, 0, "port of REST; 0: any free one, which is printed"),
    Flag("rest_api_timeout_in_ms", int, 30000, "time that an answer may take, over gRPC as well"),
    Flag("model_name", str, "default", "name of the model in --model_base_path"),
    Flag("model_base_path", str, "", "folder with a folder for each version of the model"),
    Flag("model_config_file", str, "", "models.config with the models, instead of --model_base_path"),
    Flag("model_config_file_poll_wait_seconds", int, 0, "whether that file is read again when it changes; 0: no"),
    Flag("file_system_poll_wait_seconds", int, 1, "time between looks for new versions; 0: never"),
    Flag("enable_batching", bool, False, "take the limits of --batching_parameters_file"),
    Flag("batching_parameters_file", str, "", "BatchingParameters with max_batch_size and max_enqueued_batches"),
    Flag("monitoring_config_file", str, "", "MonitoringConfig: metrics are at /monitoring/prometheus/metrics"),
    Flag("ssl_config_file", str, "", "SSLConfig: all ports take TLS alone, REST as well"),
    Flag("tensorflow_session_parallelism", int, 0, "threads of one inference"),
    Flag("tensorflow_intra_op_parallelism", int, 0, "threads of one inference"),
    Flag("rest_api_num_threads", int, 0, note="connections need no threads here"),
    Flag("grpc_max_threads", int, 0, note="the number of threads is fixed here"),
    Flag("grpc_channel_arguments", str, "", note="options of gRPC's channels are not passed on"),
    Flag("allow_version_labels_for_unavailable_models", bool, False, note="labels may name any version here"),
    Flag("enable_model_warmup", bool, True, note="models are warmed up in any case, by recorded requests if any"),
    Flag("num_request_iterations_for_warmup", int, 0, note="how often warm-up requests run is fixed here"),
    Flag("num_load_threads", int, 0, note="versions are loaded one after the other"),
    Flag("num_unload_threads", int, 0, note="versions are unloaded when their last request is answered"),
    Flag("max_num_load_retries", int, 5, note="a version that failed is tried again when its files change"),
    Flag("load_retry_interval_micros", int, 60_000_000, note="a version that failed is tried again when it changes"),
    Flag("flush_filesystem_caches", bool, True, note="caches of the file system are left to the system"),
    Flag("tensorflow_inter_op_parallelism", int, 0, note="operators of one inference run one after the other"),
    Flag("enable_per_model_batching_parameters", bool, False, note="how many requests join is measured for each model"),
    Flag("prefer_tflite_model", bool, False, note="model.tflite is served where there is no saved_model.pb beside it"),
    Flag("num_tflite_pools", int, 0, note="each worker has one interpreter of a model; see --workers"),
    Flag("num_tflite_interpreters_per_pool", int, 0, note="each worker has one interpreter of a model; see --workers"),
    Flag("remove_unused_fields_from_bundle_metagraph", bool, True, note="graphs are loaded by TensorFlow's own loader"),
    Flag("enable_signature_method_name_check", bool, False, note="signatures are read by what they give, not by name"),
    Flag("enable_serialization_as_tensor_content", bool, False, note="answers hold lists of values"),
    Flag("enable_grpc_healthcheck_service", bool, False, note="gRPC's health service is always there"),
    Flag("enable_profiler", bool, True, note="there is no profiler service; see deploykit's reports for profiles"),
    Flag("per_process_gpu_memory_fraction", float, 0.0, note="models that were not exported run on the CPU"),
    Flag("xla_cpu_compilation_enabled", bool, False, note="graphs run as they are"),
    Flag("xla_gpu_compilation_enabled", bool, False, note="graphs run as they are"),
    Flag("mixed_precision", str, "", note="graphs run as they are; deploykit sweep makes them smaller"),
    Flag("skip_initialize_tpu", bool, False, note="there are no TPUs here"),
    Flag("saved_model_tags", str, "", note="the graph tagged 'serve' is served, else the first"),
    Flag("tensorflow_session_config_file", str, "", note="sessions have threads alone to set: use the flag for them"),
    Flag("thread_pool_factory_config_file", str, "", note="threads are those of --tensorflow_intra_op_parallelism"),
    Flag(
        "platform_config_file", str, "", refused=True,
        note="platforms of its C++ library cannot be loaded; leave it out: formats are found by their files",
    ),
    Flag("use_alts_credentials", bool, False, refused=True, note="ALTS is not supported; use --ssl_config_file"),
    Flag(
        "rest_api_enable_cors_support", bool, False, refused=True,
        note="pages of other servers are not let in; put a proxy in front that sends CORS headers",
    ),
)  # fmt: skip
