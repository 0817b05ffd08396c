"""The settings are a function of the environment."""

import json
import os
import pwd
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from clientcaller import environment as environment_reader
from clientcaller import local_models
from clientcaller.named_engines import ENGINES, Reader
from inference.models.catalogue import CATALOGUE
from inference.models.choice import Machine

ROOT = Path(__file__).parent.parent
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "k3y-" * 20 + "abcdefghij",
    "PUBLIC_BASE_URL": "https://phone.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "a1" * 16,
    "TWILIO_AUTH_TOKEN": "secret",
    "TWILIO_PHONE_NUMBER": "+15551234567",
    "DATABASE_URL": "sqlite://:memory:",
}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """The settings for an environment that holds this and nothing else, on a machine without weights."""

    def load(**environment: str) -> dict[str, Any]:
        folders = {"VAR_DIR": str(tmp_path), "MODELS_FOLDER": str(tmp_path / "models")}
        monkeypatch.setattr(os, "environ", {**folders, **environment})
        return runpy.run_path(str(ROOT / "clientcaller" / "settings.py"))

    return load


def test_an_empty_environment_gives_a_development_server(load, tmp_path):
    settings = load()
    assert settings["DEBUG"]
    assert settings["ENGINES_PROFILE"] == "laptop"
    assert settings["PUBLIC_BASE_URL"] == "http://127.0.0.1:8000"
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["http://127.0.0.1:8000"]
    assert settings["TWILIO_ACCOUNT_SID"].startswith("AC")
    assert settings["TWILIO_AUTH_TOKEN"]
    database = settings["DATABASES"]["default"]
    assert database["NAME"] == str(tmp_path / "db.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
    assert {layer["BACKEND"] for layer in settings["CHANNEL_LAYERS"].values()} == {
        "channels.layers.InMemoryChannelLayer"
    }


def test_a_user_without_a_home_needs_no_folder_of_models(load, monkeypatch):
    def has_no_user(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", has_no_user)
    assert load(MODELS_FOLDER="")["MODELS_FOLDER"] == ROOT / "var" / "client-caller" / "models"
    assert load(MODELS_FOLDER="/srv/models")["MODELS_FOLDER"] == Path("/srv/models")
    with pytest.raises(ImproperlyConfigured, match='MODELS_FOLDER is "~/models", but that user has no home'):
        load(MODELS_FOLDER="~/models")


def test_redis_carries_each_channel_layer_in_its_own_way(load):
    url = "rediss://:secret@redis.example.com:6380/0"
    layers = load(REDIS_URL=url)["CHANNEL_LAYERS"]
    assert layers["default"]["BACKEND"] == "channels_redis.core.RedisChannelLayer"
    assert layers["stream"]["BACKEND"] == "clientcaller.pubsub_layer.PubSubChannelLayer"
    (placements,) = layers["default"]["CONFIG"]["hosts"]
    assert placements["address"] == url
    assert placements["socket_timeout"] > 5  # the layer's own wait for a message
    assert layers["stream"]["CONFIG"]["hosts"] == [url]


def test_each_role_of_redis_may_have_a_server_of_its_own(load):
    urls = {"REDIS_URL": "redis://main", "STREAM_REDIS_URL": "redis://a, redis://b", "CELERY_BROKER_URL": "rediss://c"}
    settings = load(**urls)
    assert settings["CHANNEL_LAYERS"]["stream"]["CONFIG"]["hosts"] == ["redis://a", "redis://b"]
    assert settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"][0]["address"] == "redis://main"
    assert settings["CACHES"]["default"]["LOCATION"] == "redis://main"
    assert settings["CELERY_BROKER_URL"] == "rediss://c"
    assert settings["CELERY_BROKER_USE_SSL"] == {"ssl_cert_reqs": "required"}
    assert load(REDIS_URL="redis://main")["CELERY_BROKER_URL"] == "redis://main"
    with pytest.raises(ImproperlyConfigured, match="STREAM_REDIS_URL is set, but REDIS_URL is not"):
        load(STREAM_REDIS_URL="redis://a")


def test_nothing_outlives_a_transaction_behind_a_pooler(load):
    for flag in (False, True):
        settings = load(DATABASE_URL="postgres://u@db.example.com/calls", DATABASE_POOLED=str(int(flag)))
        assert settings["DATABASES"]["default"]["DISABLE_SERVER_SIDE_CURSORS"] is flag
        assert settings["DATABASE_POOLED"] is flag


def test_a_connection_to_postgresql_fails_fast(load):
    database = load(DATABASE_URL="postgres://u:p@db.example.com/calls?sslmode=require")["DATABASES"]["default"]
    silence = {"tcp_user_timeout": 10_000, "keepalives_idle": 10}
    assert database["OPTIONS"] == {"connect_timeout": 3, "sslmode": "require", **silence}


def test_production_has_no_default_for_a_secret(load):
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY"):
        load(DEBUG="0")
    settings = load(DEBUG="0", SECRET_KEY="x", PUBLIC_BASE_URL="https://phone.example.com/")
    assert settings["TWILIO_ACCOUNT_SID"] == settings["TWILIO_AUTH_TOKEN"] == ""
    assert settings["TWILIO_AUTH_TOKENS"] == []
    assert settings["PUBLIC_BASE_URL"] == "https://phone.example.com"
    assert "phone.example.com" in settings["ALLOWED_HOSTS"]
    assert settings["SESSION_COOKIE_SECURE"]
    assert "SECURE_PROXY_SSL_HEADER" not in settings
    assert "daphne" not in settings["INSTALLED_APPS"]


@pytest.mark.parametrize(
    ("public", "host"),
    [
        ("https://Phone.example.com:8443", "phone.example.com"),
        ("https://[2001:db8::5]:8000", "[2001:db8::5]"),
        ("https://büro.example", "xn--bro-hoa.example"),
        ("https://phone.example.com.", "phone.example.com"),
    ],
)
def test_the_public_host_is_allowed_whatever_else_is(load, public, host):
    allowed = load(PUBLIC_BASE_URL=public, ALLOWED_HOSTS="10.0.0.5, probe.example.")["ALLOWED_HOSTS"]
    assert allowed == [host, "10.0.0.5", "probe.example", "127.0.0.1", "localhost", "[::1]"]


@pytest.mark.parametrize("host", ["phone..example", "my_phone.example", "a b.example"])
def test_a_public_address_without_a_valid_host_name_stops_the_start(load, host):
    with pytest.raises(ImproperlyConfigured, match="no valid host name"):
        load(PUBLIC_BASE_URL=f"https://{host}")


@pytest.mark.parametrize(
    ("public", "origin"),
    [
        ("https://Phone.Example.com:443", "https://phone.example.com"),
        ("https://phone.example.com:8443", "https://phone.example.com:8443"),
        ("https://büro.example.", "https://xn--bro-hoa.example"),
        ("http://[2001:DB8::5]:8000", "http://[2001:db8::5]:8000"),
    ],
)
def test_the_origin_of_the_console_is_trusted_as_browsers_write_it(load, public, origin):
    assert load(PUBLIC_BASE_URL=public)["CSRF_TRUSTED_ORIGINS"] == [origin]


def test_the_tls_header_of_a_proxy_counts_only_if_the_operator_allows_it(load):
    assert load(TRUST_X_FORWARDED_PROTO="1")["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")


def make_model(folder: Path, name: str) -> str:
    """Files of the right names and sizes in the place of a model."""
    for file in CATALOGUE[name].files:
        path = folder / name / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as made:
            made.truncate(file.size or 1)
    return str(folder / name)


def models_of(settings: dict[str, Any]) -> list[str]:
    return [settings["ENGINES"][kind]["OPTIONS"]["model"] for kind in ("stt", "llm", "tts")]


def test_the_talk_profile_has_models_that_fit_the_machine(load, tmp_path, monkeypatch):
    monkeypatch.setattr(local_models, "this_machine", lambda: Machine(4, 8 * 10**9))
    settings = load(ENGINES_PROFILE="talk", MODELS_FOLDER=str(tmp_path))
    assert models_of(settings) == [str(tmp_path / name) for name in ("tiny.en", "gemma3-1b-it", "piper-joe")]
    assert settings["ENGINES_PROFILE_IS_SET"]
    make_model(tmp_path, "gemma3-270m-it")
    settings = load(ENGINES_PROFILE="talk", MODELS_FOLDER=str(tmp_path))
    assert models_of(settings)[1] == str(tmp_path / "gemma3-270m-it"), "it is there, and nobody waits for a download"


def test_names_of_the_catalogue_stand_for_their_folders(load, tmp_path):
    names = {"LLM_MODEL": "gemma3-270m", "TTS_VOICE": "piper-kristin"}
    settings = load(ENGINES_PROFILE="talk", MODELS_FOLDER=str(tmp_path), WHISPER_MODEL="base.en", **names)
    assert models_of(settings)[1:] == [str(tmp_path / "gemma3-270m"), str(tmp_path / "piper-kristin")]
    assert "voice" not in settings["ENGINES"]["tts"]["OPTIONS"]
    assert models_of(settings)[0] == "base.en", "Whisper can fetch it itself, as long as it is not here"
    folder = make_model(tmp_path, "base.en")
    assert models_of(load(ENGINES_PROFILE="talk", MODELS_FOLDER=str(tmp_path), WHISPER_MODEL="base.en"))[0] == folder


def test_paths_and_other_names_are_left_as_they_are(load):
    settings = load(
        ENGINES_PROFILE="talk", LLM_MODEL="/models/own.gguf", TTS_MODEL="/voices/anna.onnx", TTS_VOICE="anna"
    )
    assert models_of(settings)[1:] == ["/models/own.gguf", "/voices/anna.onnx"]
    assert settings["ENGINES"]["tts"]["OPTIONS"]["voice"] == "anna"


def test_weights_that_were_fetched_serve_the_other_profiles_as_well(load, tmp_path):
    assert load(ENGINES_PROFILE="cpu", MODELS_FOLDER=str(tmp_path))["ENGINES"]["stt"]["OPTIONS"]["model"] == "small.en"
    folder = make_model(tmp_path, "small.en")
    assert load(ENGINES_PROFILE="cpu", MODELS_FOLDER=str(tmp_path))["ENGINES"]["stt"]["OPTIONS"]["model"] == folder


def test_the_models_are_in_the_cache_of_the_user(load, tmp_path):
    cache = load(XDG_CACHE_HOME=str(tmp_path), MODELS_FOLDER="")
    assert cache["MODELS_FOLDER"] == tmp_path / "client-caller" / "models"
    assert load(MODELS_FOLDER="~/weights")["MODELS_FOLDER"] == Path.home() / "weights"
    assert not load()["ENGINES_PROFILE_IS_SET"]


def test_our_number_may_be_written_in_any_spelling(load):
    assert load(TWILIO_PHONE_NUMBER="+44 (0)20 7946 0018")["TWILIO_PHONE_NUMBER"] == "+442079460018"


def test_two_auth_tokens_are_valid_during_a_rotation(load):
    settings = load(TWILIO_AUTH_TOKEN="old, new")
    assert settings["TWILIO_AUTH_TOKENS"] == ["old", "new"]
    assert settings["TWILIO_AUTH_TOKEN"] == "old"


@pytest.mark.parametrize("profile", ["laptop", "cpu", "talk", "gpu", "hosted", "remote", "scripted", "echo"])
def test_every_profile_names_three_engines(load, profile):
    keys = dict.fromkeys(("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY"), "secret")
    engines = load(ENGINES_PROFILE=profile, REDIS_URL="redis://redis.example.com", **keys)["ENGINES"]
    assert set(engines) == {"stt", "llm", "tts"}
    assert all(engine["BACKEND"].startswith("inference.") for engine in engines.values())


def test_the_gpu_profile_uses_cuda_and_a_model_server_on_the_same_machine(load):
    engines = load(ENGINES_PROFILE="gpu")["ENGINES"]
    assert engines["stt"]["OPTIONS"] == {"model": "large-v3-turbo", "device": "cuda"}
    assert engines["llm"]["OPTIONS"] == {
        "base_url": "http://127.0.0.1:8100/v1",
        "model": "llm",
        "server": "vllm",
    }
    assert engines["tts"]["OPTIONS"] == {"model": "sesame/csm-1b", "device": "cuda"}


def test_models_and_voices_of_the_gpu_profile_have_their_own_variables(load):
    engines = load(
        ENGINES_PROFILE="gpu",
        WHISPER_MODEL="/models/whisper",
        LLM_MODEL="gemma",
        CSM_MODEL="/models/csm",
        CSM_VOICES="/voices",
        CSM_VOICE="anna",
    )["ENGINES"]
    assert engines["stt"]["OPTIONS"]["model"] == "/models/whisper"
    assert engines["llm"]["OPTIONS"]["model"] == "gemma"
    assert engines["tts"]["OPTIONS"] == {
        "model": "/models/csm",
        "voices": "/voices",
        "voice": "anna",
        "device": "cuda",
    }


@pytest.mark.parametrize("profile", ["laptop", "cpu", "gpu", "remote"])
def test_a_turn_model_runs_in_this_process_whatever_the_profile(load, profile):
    environment = {"ENGINES_PROFILE": profile, "REDIS_URL": "rediss://redis.example.com"}
    assert "turn" not in load(**environment)["ENGINES"]
    options = '{"turn": {"max_waiting": 2}}'
    assert load(**environment, TURN_MODEL="/models/turn.onnx", ENGINES_OPTIONS=options)["ENGINES"]["turn"] == {
        "BACKEND": "inference.engines.smart_turn.SmartTurnModel",
        "OPTIONS": {"model": "/models/turn.onnx", "max_waiting": 2},
    }


def test_options_of_a_turn_model_need_one(load):
    with pytest.raises(ImproperlyConfigured, match="TURN_MODEL is not set"):
        load(ENGINES_OPTIONS='{"turn": {"max_waiting": 2}}')


def test_remote_engines_are_reached_through_redis_unless_the_language_model_has_a_url(load):
    remote = {"ENGINES_PROFILE": "remote", "REDIS_URL": "rediss://redis.example.com"}
    assert {engine["BACKEND"].rpartition(".")[0] for engine in load(**remote)["ENGINES"].values()} == {
        "inference.engines.remote"
    }
    engines = load(**remote, OPENAI_BASE_URL="https://llm.example.com/v1", OPENAI_API_KEY="secret")["ENGINES"]
    assert engines["llm"]["BACKEND"].endswith("OpenAICompatibleLanguageModel")
    assert engines["llm"]["OPTIONS"]["base_url"] == "https://llm.example.com/v1"
    assert engines["llm"]["OPTIONS"]["api_key"] == "secret"
    assert engines["llm"]["OPTIONS"]["server"] == "vllm"
    assert {engines["stt"]["BACKEND"], engines["tts"]["BACKEND"]} == {
        "inference.engines.remote.RemoteSpeechToText",
        "inference.engines.remote.RemoteTextToSpeech",
    }


def test_another_kind_of_model_server_and_its_certificates_can_be_set(load):
    options = load(
        ENGINES_PROFILE="gpu",
        LLM_SERVER="tensorrt-llm",
        OPENAI_CA_FILE="/etc/ca.pem",
        OPENAI_CLIENT_CERT_FILE="/etc/us.pem",
        OPENAI_CLIENT_KEY_FILE="/etc/us.key",
    )["ENGINES"]["llm"]["OPTIONS"]
    assert options["server"] == "tensorrt-llm"
    assert options["ca_file"] == "/etc/ca.pem"
    assert (options["client_cert_file"], options["client_key_file"]) == ("/etc/us.pem", "/etc/us.key")


def test_engine_options_apply_to_every_profile(load):
    profiles = load(ENGINES_OPTIONS='{"tts": {"rate_hz": 24000}}')["ENGINES_PROFILES"]
    assert profiles["scripted"]["tts"]["OPTIONS"] == {"rate_hz": 24000}


def test_engine_options_are_added_to_those_of_the_profile(load):
    engines = load(ENGINES_PROFILE="cpu", LLM_MODEL="qwen3:0.6b", ENGINES_OPTIONS='{"llm": {"temperature": 0.2}}')[
        "ENGINES"
    ]
    assert engines["llm"]["OPTIONS"] == {
        "base_url": "http://127.0.0.1:11434/v1",
        "model": "qwen3:0.6b",
        "temperature": 0.2,
    }


def test_webhooks_may_be_sent_to_this_machine_in_development_only(load):
    assert load()["WEBHOOK_ALLOWED_HOSTS"] == ["localhost", "127.0.0.0/8", "::1/128"]
    assert load(**PRODUCTION)["WEBHOOK_ALLOWED_HOSTS"] == []
    named = load(WEBHOOK_ALLOWED_HOSTS="CRM.internal., 10.20.0.0/16,[fd12::5]")["WEBHOOK_ALLOWED_HOSTS"]
    assert named == ["crm.internal", "10.20.0.0/16", "fd12::5/128"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"ENGINES_PROFILE": "quantum"},
            'is "quantum". Choose one of: laptop, cpu, talk, gpu, hosted, remote, scripted, echo',
        ),
        ({"ENGINES_PROFILE": "remote"}, 'is "remote", but REDIS_URL is not set'),
        ({"ENGINES_OPTIONS": "{"}, "ENGINES_OPTIONS is not valid JSON"),
        ({"ENGINES_OPTIONS": "[1]"}, "Set it to a JSON object"),
        ({"ENGINES_OPTIONS": '{"ears": {}}'}, "ears"),
        ({"ENGINES_OPTIONS": '{"stt": 1}'}, "one object per engine"),
        ({"CONVERSATION": "nice"}, "CONVERSATION is not valid JSON"),
        ({"ENGINE_PRICES": '{"acme": {"minutes": 1}}'}, 'ENGINE_PRICES is wrong: the price of acme is by "minutes"'),
        ({"NEW_AREA_CODES": "436,911"}, "NEW_AREA_CODES is wrong: '911' is not an area code"),
        ({"NEW_AREA_CODES": "436=461"}, "NEW_AREA_CODES is wrong: '436=461': '461' is not an area code that is in"),
        ({"DEBUG": "maybe"}, 'DEBUG is "maybe". Set it to 1 or 0'),
        ({"MAX_LIVE_CALLS": "0"}, 'MAX_LIVE_CALLS is "0". Set it to a number of at least 1'),
        ({"MAX_LIVE_CALLS": "inf"}, 'MAX_LIVE_CALLS is "inf". Set it to a number'),
        ({"CALLS_PER_SECOND": "1001"}, 'CALLS_PER_SECOND is "1001". Set it to a number from 0.01 to 1000'),
        ({"API_RATE": "600"}, 'API_RATE is "600". Write it like 600/minute'),
        ({"WEBHOOK_ALLOWED_HOSTS": "crm.internal,10.0.0.1/8"}, 'has "10.0.0.1/8". List names of hosts and networks'),
        ({"WEBHOOK_ALLOWED_HOSTS": "https://crm.internal/"}, 'has "https://crm.internal/"'),
        ({"WEBHOOK_ALLOWED_HOSTS": "10.0.0.300"}, 'has "10.0.0.300"'),
        (
            {"RECORDING_KEYS": f"{'A' * 43}=,c2VjcmV0"},
            "Key 2 of RECORDING_KEYS is not a key of 32 bytes in base64",
        ),
        ({"RECORDING_KEYS": "secret!"}, "Key 1 of RECORDING_KEYS is not a key"),
        ({"LOG_LEVEL": "loud"}, 'LOG_LEVEL is "loud". Choose one of: .*WARNING, INFO'),
        (
            {"DATABASE_URL": "oracle9://u:secret@h/x"},
            "DATABASE_URL is not the URL of a database. Write it like postgres:",
        ),
        ({"MAX_LIVE_CALLS": "many"}, 'MAX_LIVE_CALLS is "many". Set it to a number'),
        ({"STREAM_TOKEN_TTL": "nan"}, 'STREAM_TOKEN_TTL is "nan"'),
        ({"PUBLIC_BASE_URL": "phone.example.com"}, 'PUBLIC_BASE_URL is ".*". Write it like'),
        ({"PUBLIC_BASE_URL": "https://phone.example.com:99999"}, 'PUBLIC_BASE_URL is ".*". Write it like'),
        ({"PUBLIC_BASE_URL": "https://phone.example.com/?a=b"}, 'PUBLIC_BASE_URL is ".*". Write it like'),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(load, environment, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        load(**environment)


def test_a_message_about_the_database_leaves_its_password_out(load):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as refused:
        load(DATABASE_URL="oracle9://user:secret@db.example.com/calls")
    assert "secret" not in str(refused.value)


def test_a_choice_may_be_written_in_upper_or_lower_case(load):
    assert load(LOG_LEVEL="debug")["LOG_LEVEL"] == "DEBUG"


def test_every_variable_that_is_read_is_documented(load):
    """The names come from the reader itself, so a new setting cannot be forgotten here."""
    for environment in ({}, PRODUCTION, {**PRODUCTION, "REDIS_URL": "redis://r", "OPENAI_BASE_URL": "http://llm/v1"}):
        load(**environment)
    for engine in ENGINES:
        engine.options(Reader())
    assert "SECURE_HSTS_SECONDS" in environment_reader.names_read  # which only production reads
    pages = (ROOT / "docs" / "settings.md", ROOT / "README.md")
    page = next(page for page in pages if page.exists()).read_text(encoding="utf-8")
    assert sorted(name for name in environment_reader.names_read if f"`{name}`" not in page) == []


def test_no_setting_is_documented_twice():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    names = [
        name for row in re.findall(r"^\|([^|]*)\|", page, re.MULTILINE) for name in re.findall(r"`([A-Z_]+)`", row)
    ]
    assert sorted(name for name, times in Counter(names).items() if times > 1) == []


def test_a_proper_production_environment_passes_the_deployment_checks(tmp_path):
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "INFO"],
        cwd=ROOT,
        env={
            **{"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), **PRODUCTION},
            "DATABASE_URL": "postgres://clientcaller@db.example.com/clientcaller",
            "REDIS_URL": "rediss://redis.example.com",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_celery_verifies_the_certificate_of_redis_unless_the_url_says_otherwise(load):
    assert load(REDIS_URL="rediss://redis.example.com")["CELERY_BROKER_USE_SSL"] == {"ssl_cert_reqs": "required"}
    assert "CELERY_BROKER_USE_SSL" not in load(REDIS_URL="rediss://redis.example.com?ssl_cert_reqs=none")
    assert "CELERY_BROKER_USE_SSL" not in load(REDIS_URL="redis://redis.example.com")


def test_the_time_outs_of_sending_a_message_without_redis_add_up_to_a_second(load):
    settings = load(REDIS_URL="redis://redis.example.com")
    options = settings["CELERY_BROKER_TRANSPORT_OPTIONS"]
    assert (1 + options["max_retries"]) * max(options["socket_connect_timeout"], options["socket_timeout"]) <= 1.0
    assert settings["CELERY_TASK_PUBLISH_RETRY_POLICY"]["max_retries"] <= 1


@pytest.mark.parametrize("pace", ["0", "1001", "fast", "nan"])
def test_an_impossible_calling_rate_is_refused(load, pace):
    with pytest.raises(ImproperlyConfigured, match="CALLS_PER_SECOND"):
        load(CALLS_PER_SECOND=pace)


def test_a_json_setting_is_parsed(load):
    assert load(CONVERSATION=json.dumps({"max_lead": 0.3}))["CONVERSATION"] == {"max_lead": 0.3}


@pytest.mark.parametrize(("arguments", "has_traceback"), [((), False), (("--traceback",), True)])
def test_the_command_line_says_what_is_wrong_without_lines_of_python(arguments, has_traceback):
    command = [sys.executable, str(ROOT / "manage.py"), "check", *arguments]
    environment = {**os.environ, "ENGINES_PROFILE": "nope", "DJANGO_SETTINGS_MODULE": "clientcaller.settings"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) is has_traceback
    assert 'ENGINES_PROFILE is "nope". Choose one of: laptop' in result.stderr
