import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.config import Settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("INNERLOOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_for_this_machine_alone() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.device, settings.default_model) == ("127.0.0.1", 8000, "auto", "omniglot")
    assert (settings.data_dir, settings.model_store) == (Path("data"), Path("model_store"))


def other(name: str) -> object:
    """A valid value that is not the default."""
    default = Settings.model_fields[name].default
    if name == "device":
        return "cuda:3"
    if name == "pin_cores":
        return "split"
    if name == "log_format":
        return "json"
    if name == "store":
        return "redis://other:6379/1"
    return f"{default}-other" if isinstance(default, str) else Path("elsewhere") if isinstance(default, Path) else default + 5


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_comes_from_its_environment_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"INNERLOOP_{name.upper()}", str(other(name)))
    assert getattr(Settings(), name) == other(name) != getattr(Settings.model_construct(), name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_what_is_passed_wins_over_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"INNERLOOP_{name.upper()}", str(Settings.model_fields[name].default))
    assert getattr(Settings.model_validate({name: other(name)}), name) == other(name)


def test_variables_of_other_programs_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("HOST", "0.0.0.0")  # noqa: S104 - it must not be listened on
    assert Settings() == Settings.model_construct()


BAD = {
    "port": ("-1", "65536", "http", ""),
    "device": ("cuda", "gpu", "cuda:", "cuda:-1", "cpu:0", "CPU", ""),
    "torch_threads": ("-1", "1.5"),
    "session_ttl_seconds": ("0", "-1", "604801", "nan", "inf"),
    "store": ("", "disk", "sqlite:", "http://redis", "redis://"),
    "store_bytes": ("0", "1048575"),
    "host_bytes": ("0", "1048575"),
    "stale_seconds": ("-1", "nan", "inf"),
    "workers": ("0", "65"),
    "pin_cores": ("all", "true", ""),
    "log_format": ("colours", ""),
    "arena_bytes": ("0", "1048575"),
    "batch_wait_ms": ("-1", "1001", "nan", "inf"),
    "queue_items": ("0",),
    "max_body_bytes": ("1023",),
    "max_image_pixels": ("0",),
    "max_examples": ("1",),
    "max_queries": ("0",),
    "max_classes": ("1",),
    "drain_seconds": ("-0.1", "nan", "inf"),
    "shutdown_seconds": ("-1",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_that_cannot_work_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"INNERLOOP_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings.model_validate({"prot": 8000})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc] # that it is read-only is the claim
