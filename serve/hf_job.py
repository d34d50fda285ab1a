"""The gateway as a job of the Hub: `understudy serve --on hf-jobs`.

A job ends at its time-out, its address is its own, and its disk is new: a gateway for an afternoon. What it serves
comes from the Hub. https://huggingface.co/docs/hub/jobs-serving
"""

from pydantic import SecretStr

from serve.hub_sync.follow_config import read_following
from understudy.config.engine import EngineSettings
from understudy.config.gateway import GatewaySettings
from understudy.config.hub import HubSettings
from understudy.config.settings import Settings
from understudy.errors import JobError
from understudy.hub_jobs.job_script import Job
from understudy.hub_jobs.plan import JobPlan, WrittenJob
from understudy.hub_jobs.program import base_of_job, write_program

PORT = 8000
OF_THIS_MACHINE = (
    *("host", "port", "gateway_url", "engine_url", "hub_endpoint"),
    *("personas_file", "limits_storage", "log_json"),
)
"""Settings that say nothing to another machine, or that the job sets itself."""


def write_serving_job(settings: Settings, plan: JobPlan) -> tuple[WrittenJob, dict[str, str]]:
    """Write the job's files to `home`/jobs/<id>/; return it and the values of its secrets.

    With an `api_key` the port is public and the gateway asks for that key; without one the Hub's proxy lets in only
    tokens that may read the job.

    Raises:
        JobError: the base is a folder of this machine, nothing is followed, or the Hub would refuse the plan.
        BaseModelError: as `resolve_base`.
        ConfigError: the personas file cannot be used.
    """
    plan.check()
    base = base_of_job(settings.base)
    if settings.personas_file is None and not settings.hub_orgs:
        raise JobError(
            "a job serves what is on the Hub: say which repositories it follows in a file that "
            "UNDERSTUDY_PERSONAS_FILE names, or which may be asked for in UNDERSTUDY_HUB_ORGS"
        )
    files = {}
    if settings.personas_file is not None:
        read_following(settings.personas_file)
        files["personas.yaml"] = settings.personas_file.read_text(encoding="utf-8")
    secrets = _secrets(settings)
    job = Job(
        does="serve",
        recipe="",
        options=["--host", "0.0.0.0", "--port", str(PORT)],
        push="",
        env=_variables(settings),
        seconds=plan.seconds,
        bundle="",
        files=files,
    )
    folder = settings.home / "jobs"
    script, bundle = write_program(job, "serve", folder, base=base, plan=plan, extras=("serve",), vllm=True)
    public = "UNDERSTUDY_API_KEY" in secrets
    return WrittenJob(
        plan=plan, script=script, bundle=bundle, port=PORT, public=public, secrets=tuple(secrets)
    ), secrets


def _variables(settings: Settings) -> dict[str, str]:
    """What is set here for engine, gateway and Hub, and means the same there."""
    fields = {**EngineSettings.model_fields, **GatewaySettings.model_fields, **HubSettings.model_fields}
    names = [name for name in fields if name in settings.model_fields_set and name not in OF_THIS_MACHINE]
    values = {name: getattr(settings, name) for name in names}
    values = {name: value for name, value in values.items() if value is not None and not isinstance(value, SecretStr)}
    return {"UNDERSTUDY_BASE": settings.base} | {f"UNDERSTUDY_{n.upper()}": str(v) for n, v in values.items()}


def _secrets(settings: Settings) -> dict[str, str]:
    """Keys that are set here, and a database elsewhere, whose address has a password."""
    found = {name: getattr(settings, name) for name in ("api_key", "admin_key", "webhook_secret")}
    values = {f"UNDERSTUDY_{name.upper()}": key.get_secret_value() for name, key in found.items() if key}
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        values["UNDERSTUDY_DATABASE_URL"] = settings.database_url
    return values
