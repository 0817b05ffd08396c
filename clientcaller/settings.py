"""
Every setting, and the only reader of the environment.

Without any environment this is a development server on a laptop: SQLite, everything in one process, a
made-up Twilio account. ``DEBUG=0`` is production: nothing secret has a default there, and ``manage.py check
--deploy`` says what is missing or contradictory (``calls/checks.py``).
"""

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured


def _flag(name: str, default: bool) -> bool:
    text = os.environ.get(name, "").strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    if text:
        raise ImproperlyConfigured(f"{name} must be 1 or 0, not {text!r}")
    return default


def _list(name: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()]


def _number(name: str, default: float, *, at_least: float, at_most: float = float("inf")) -> float:
    text = os.environ.get(name, "").strip()
    try:
        number = float(text or default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number, not {text!r}") from None
    if not number >= at_least:
        raise ImproperlyConfigured(f"{name} must be at least {at_least:g}, not {text!r}")
    if number > at_most:
        raise ImproperlyConfigured(f"{name} must be at most {at_most:g}, not {text!r}")
    return number


def _json_object(name: str) -> dict[str, Any]:
    text = os.environ.get(name, "").strip() or "{}"
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"{name} must be a JSON object, not {text!r}")
    return value


def _base_url(name: str, default: str) -> str:
    url = (os.environ.get(name, "").strip() or default).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} must look like https://phone.example.com, not {url!r}")
    return url


# --- The project -----------------------------------------------------------------------------------------

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("VAR_DIR", "").strip() or BASE_DIR / "var").resolve()
"""Everything that the server writes when nothing else is configured: database, recordings, spool, static files."""

DEBUG = _flag("DEBUG", True)

DEVELOPMENT_SECRET_KEY = "development-only-key-that-protects-nothing-and-is-known-to-everybody"
SECRET_KEY = os.environ.get("SECRET_KEY", "").strip() or (DEVELOPMENT_SECRET_KEY if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY must be set when DEBUG=0")

PUBLIC_BASE_URL = _base_url("PUBLIC_BASE_URL", "http://127.0.0.1:8000")
"""Where the world, and so Twilio, finds this server. Signatures are checked against it, never against ``Host``."""
_public = urlsplit(PUBLIC_BASE_URL)

# The loopback names serve health probes of the same machine; a Host header that says so gains nobody anything.
ALLOWED_HOSTS = [*(_list("ALLOWED_HOSTS") or [_public.hostname]), "127.0.0.1", "localhost", "[::1]"]
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

INSTALLED_APPS = [
    # Gives `runserver` its ASGI server. Production starts its server directly and need not load Twisted.
    *(["daphne"] if DEBUG else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # Before channels: its `runworker` is ours.
    "inference",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "calls",
    "media",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "clientcaller.urls"
ASGI_APPLICATION = "clientcaller.asgi.application"
# A redirected POST loses its body and its signature: both slash forms are routed instead.
APPEND_SLASH = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- Where things are kept -------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_URL = os.environ.get("DATABASE_URL", "").strip()
DATABASES = {"default": dj_database_url.parse(DATABASE_URL or f"sqlite:///{VAR_DIR / 'db.sqlite3'}")}
if not DATABASE_URL:
    VAR_DIR.mkdir(parents=True, exist_ok=True)

# A TwiML answer must leave well within Twilio's 15 s, with a spoken line if the database is away: fail fast.
_DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.sqlite3": {
        # IMMEDIATE takes the write lock at BEGIN, where the busy timeout applies; the default takes it at the
        # first write, where a reader that wants to write fails at once.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    },
    "django.db.backends.postgresql": {"connect_timeout": 3},
}
for _database in DATABASES.values():
    _database["OPTIONS"] = {**_DATABASE_OPTIONS.get(_database["ENGINE"], {}), **_database.get("OPTIONS", {})}

MEDIA_ROOT = VAR_DIR / "media"
"""Recordings, until another storage is configured. Served only by the admin, to those who may see the call."""
MEDIA_URL = "media/"
SPOOL_DIR = VAR_DIR / "spool"
"""What must survive the database or the process: unfinished recordings and facts not yet written."""

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
# Said here, and not left to WhiteNoise to take from DEBUG, because the test runner turns DEBUG off afterwards.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
# True of every static file under ASGI, and harmless: they are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# "default" places a new session with exactly one worker (competing consumers on one channel name); "stream"
# carries an open session between two private channel names, where each message has one listener.
REDIS_URL = os.environ.get("REDIS_URL", "").strip()
CHANNEL_LAYERS: dict[str, dict[str, Any]] = (
    {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # It waits 5 s for a message, which is also where redis-py would cut it off, and the message with it.
            "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 10}], "capacity": 1000},
        },
        "stream": {
            "BACKEND": "clientcaller.pubsub_layer.PubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        },
    }
    if REDIS_URL
    else {
        alias: {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
        for alias in ("default", "stream")
    }
)

# --- Work in the background (Celery) ---------------------------------------------------------------------

# Celery only wakes whoever claims due rows; the database is the truth. A lost wake-up costs a beat, no call.
# Without Redis the messages are small files of this machine (clientcaller/file_broker.py).
CELERY_BROKER_URL = REDIS_URL or "files://localhost"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    # A dead Redis must cost whoever calls .delay() a second at most: two tries, and bounded waits in both.
    {"max_retries": 1, "interval_start": 0, "interval_max": 0.1, "socket_connect_timeout": 0.5, "socket_timeout": 0.5}
    if REDIS_URL
    else {"folder": str(VAR_DIR / "broker"), "polling_interval": 0.1}
)
if REDIS_URL.startswith("rediss:") and "ssl_cert_reqs" not in REDIS_URL:
    # Kombu, unlike the others who get this address, would not look at the certificate.
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": "required"}
CELERY_BROKER_CONNECTION_TIMEOUT = 1.0
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
# The worker itself waits for its broker for as long as it takes.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Results stand in the database; nobody reads any from Celery.
CELERY_TASK_IGNORE_RESULT = True
# Repeating is the dialler's business, by compare-and-set; the broker must never hand out a task twice.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# They wait for the carrier and the database most of the time.
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = int(_number("WORKER_CONCURRENCY", 8, at_least=1))
# Said only to be spared a warning whenever Redis restarts: it is about late acknowledgement, which we do not have.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
# Without a file, and ends with its worker.
CELERY_BEAT_SCHEDULER = "clientcaller.beat:Scheduler"
# Each wake-up is worthless once the next one is sent: it expires, so that they never pile up.
CELERY_BEAT_SCHEDULE = {
    name: {"task": f"calls.tasks.{name}", "schedule": period, "options": {"expires": period}}
    for name, period in {"dial_due": 1.0, "deliver_webhooks": 2.0, "reconcile": 15.0, "tidy": 300.0}.items()
}

# --- Security --------------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else int(_number("SECURE_HSTS_SECONDS", 30 * 24 * 3600, at_least=0))
# Only where a proxy in front overwrites the header; else anyone could claim to be on TLS.
if _flag("TRUST_X_FORWARDED_PROTO", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains and
    "security.W021",  # preloading bind hosts that are not ours to decide for
    "security.W008",  # TLS ends in the proxy, which redirects; a redirect here would break Twilio's signed POSTs
]

# --- Twilio ----------------------------------------------------------------------------------------------

DEVELOPMENT_ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
DEVELOPMENT_AUTH_TOKEN = "development-auth-token"
TWILIO_ACCOUNT_SID = os.environ.get("TWILIO_ACCOUNT_SID", "").strip() or (DEVELOPMENT_ACCOUNT_SID if DEBUG else "")
TWILIO_AUTH_TOKENS = _list("TWILIO_AUTH_TOKEN") or ([DEVELOPMENT_AUTH_TOKEN] if DEBUG else [])
"""Comma separated in the environment: two while a token is rotated, since the old one signs until then."""
TWILIO_AUTH_TOKEN = TWILIO_AUTH_TOKENS[0] if TWILIO_AUTH_TOKENS else ""
TWILIO_PHONE_NUMBER = os.environ.get("TWILIO_PHONE_NUMBER", "").strip() or ("+15005550006" if DEBUG else "")
SIMULATED = TWILIO_ACCOUNT_SID == DEVELOPMENT_ACCOUNT_SID
"""No account is set: the simulated network (``manage.py network``) stands in for Twilio, and nobody real is called."""
SIMULATED_API_URL = "http://127.0.0.1:8010"
TWILIO_API_BASE_URL = _base_url("TWILIO_API_BASE_URL", SIMULATED_API_URL if SIMULATED else "https://api.twilio.com")

# --- Calls -----------------------------------------------------------------------------------------------

MAX_LIVE_CALLS = int(_number("MAX_LIVE_CALLS", 20, at_least=1))
"""Calls that may be live at once on this database; the next caller hears a busy line."""
STREAM_TOKEN_TTL = _number("STREAM_TOKEN_TTL", 30.0, at_least=1)
"""Seconds between a TwiML answer and the socket that it asks Twilio to open."""
TRANSFER_TIME_LIMIT = int(_number("TRANSFER_TIME_LIMIT", 3600, at_least=60))
"""Seconds that a caller may talk to whom a call was transferred to."""
CONVERSATION = _json_object("CONVERSATION")
"""Overrides of the conversation's tuning, by name; every default lives beside the code that uses it."""

# --- Calling out -----------------------------------------------------------------------------------------

CALLS_PER_SECOND = _number("CALLS_PER_SECOND", 1.0, at_least=0.01, at_most=1000)
"""As fast as the carrier dials for the account (Twilio: 1 without a business profile); more would only queue there."""
OUTBOUND_MAX_CALLS = int(_number("OUTBOUND_MAX_CALLS", max(1, MAX_LIVE_CALLS * 4 // 5), at_least=1))
"""Calls of ours that may be out at once; the rest of ``MAX_LIVE_CALLS`` is left to those who call us."""
ATTEMPTS_PER_NUMBER_AND_DAY = int(_number("ATTEMPTS_PER_NUMBER_AND_DAY", 3, at_least=1))
DIAL_COUNTRIES = tuple(_list("DIAL_COUNTRIES")) or ("US", "CA")
"""ISO codes of the countries that may be called; ``*`` is all of them."""
DIAL_NUMBER_TYPES = tuple(_list("DIAL_NUMBER_TYPES")) or ("FIXED_LINE", "MOBILE", "FIXED_LINE_OR_MOBILE", "VOIP")
CALLING_HOURS: dict[str, str] = _json_object("CALLING_HOURS") or {"*": "00:00-24:00" if SIMULATED else "08:00-21:00"}
"""By country, in the called person's local time: see ``calls.schedule.CallingHours``."""

# --- The REST API ----------------------------------------------------------------------------------------

API_RATE = os.environ.get("API_RATE", "").strip() or "600/minute"
"""Requests that a key may make, unless it says otherwise itself."""
if not re.fullmatch(r"[1-9]\d*/(second|minute|hour|day)", API_RATE):
    raise ImproperlyConfigured(f"API_RATE must look like 600/minute, not {API_RATE!r}")
RECORDING_LINK_TTL = int(_number("RECORDING_LINK_TTL", 3600, at_least=1))
"""Seconds for which a link to a recording can be used."""
# Counts requests for the throttle. Without Redis each process counts for itself.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "clientcaller",
        # A dead Redis must not hold up requests: the throttle then lets them pass.
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["calls.api.auth.KeyAuthentication", "calls.api.auth.StaffAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["calls.api.auth.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["calls.api.throttling.PerKey"],
    "DEFAULT_PARSER_CLASSES": ["calls.api.parsing.StrictJSON"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": [],
    "DEFAULT_PAGINATION_CLASS": None,
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "calls.api.schema.Schema",
    "EXCEPTION_HANDLER": "calls.api.problems.answer",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Client Caller",
    "VERSION": "1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api",
    "SORT_OPERATIONS": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": True, "displayOperationId": False, "docExpansion": "list"},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "calls.api.schema.describe",
    ],
    "ENUM_NAME_OVERRIDES": {
        "CallStatus": "calls.api.schema.CALL_STATUSES",
        "DeliveryStatus": "calls.api.schema.DELIVERY_STATUSES",
        "MachineDetection": "calls.models.MachineDetection",
        "Speaker": "calls.models.Turn.Speaker",
    },
}

# --- How long things are kept ----------------------------------------------------------------------------

RETENTION_RECORDINGS_DAYS = int(_number("RETENTION_RECORDINGS_DAYS", 0, at_least=0))
RETENTION_TRANSCRIPTS_DAYS = int(_number("RETENTION_TRANSCRIPTS_DAYS", 0, at_least=0))
"""Days after which what was recorded and what was said are deleted; 0 keeps them."""

# --- Engines ---------------------------------------------------------------------------------------------

_whisper = os.environ.get("WHISPER_MODEL", "").strip()
_openai_base_url = os.environ.get("OPENAI_BASE_URL", "").strip()


def _language_model(base_url: str, model: str, server: str = "") -> dict[str, Any]:
    """The defaults of a profile, and what the environment says instead."""
    given = {
        "server": os.environ.get("LLM_SERVER", "").strip() or server,
        "ca_file": os.environ.get("OPENAI_CA_FILE", "").strip(),
        "client_cert_file": os.environ.get("OPENAI_CLIENT_CERT_FILE", "").strip(),
        "client_key_file": os.environ.get("OPENAI_CLIENT_KEY_FILE", "").strip(),
    }
    return {
        "BACKEND": "inference.engines.openai_compatible.OpenAICompatibleLanguageModel",
        "OPTIONS": {
            "base_url": _base_url("OPENAI_BASE_URL", base_url),
            "api_key": os.environ.get("OPENAI_API_KEY", "").strip(),
            "model": os.environ.get("LLM_MODEL", "").strip() or model,
            **{option: value for option, value in given.items() if value},
        },
    }


_LAPTOP_VOICE = {"BACKEND": "inference.engines.laptop_voice.LaptopTextToSpeech"}
_VLLM = _language_model("http://127.0.0.1:8001/v1", "llm", server="vllm")
ENGINES_PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "laptop": {
        "stt": {"BACKEND": "inference.engines.sphinx.SphinxSpeechToText"},
        "llm": {"BACKEND": "inference.engines.receptionist.ReceptionistLanguageModel"},
        "tts": _LAPTOP_VOICE,
    },
    "cpu": {
        "stt": {
            "BACKEND": "inference.engines.whisper.FasterWhisperSpeechToText",
            "OPTIONS": {"model": _whisper or "small.en", "device": "cpu"},
        },
        "llm": _language_model("http://127.0.0.1:11434/v1", "gemma3:1b"),
        "tts": _LAPTOP_VOICE,
    },
    "gpu": {
        "stt": {
            "BACKEND": "inference.engines.whisper.FasterWhisperSpeechToText",
            "OPTIONS": {"model": _whisper or "large-v3-turbo", "device": "cuda"},
        },
        "llm": _VLLM,
        "tts": {
            "BACKEND": "inference.engines.csm.CsmTextToSpeech",
            "OPTIONS": {
                "model": os.environ.get("CSM_MODEL", "").strip() or "sesame/csm-1b",
                "voices": os.environ.get("CSM_VOICES", "").strip(),
                "voice": os.environ.get("CSM_VOICE", "").strip(),
                "device": "cuda",
            },
        },
    },
    # Everything by way of Redis, so that a pod needs no open port; the language model directly, if it is said where.
    "remote": {
        "stt": {"BACKEND": "inference.engines.remote.RemoteSpeechToText"},
        "llm": _VLLM if _openai_base_url else {"BACKEND": "inference.engines.remote.RemoteLanguageModel"},
        "tts": {"BACKEND": "inference.engines.remote.RemoteTextToSpeech"},
    },
    "scripted": {
        "stt": {"BACKEND": "inference.engines.scripted.ScriptedSpeechToText"},
        "llm": {"BACKEND": "inference.engines.scripted.ScriptedLanguageModel"},
        "tts": {"BACKEND": "inference.engines.scripted.ScriptedTextToSpeech"},
    },
    "echo": {
        "stt": {"BACKEND": "inference.engines.echo.EchoSpeechToText"},
        "llm": {"BACKEND": "inference.engines.echo.EchoLanguageModel"},
        "tts": {"BACKEND": "inference.engines.echo.EchoTextToSpeech"},
    },
}
ENGINES_PROFILE = os.environ.get("ENGINES_PROFILE", "").strip() or "laptop"
if ENGINES_PROFILE not in ENGINES_PROFILES:
    raise ImproperlyConfigured(
        f"ENGINES_PROFILE {ENGINES_PROFILE!r} is not known; the profiles are: {', '.join(ENGINES_PROFILES)}"
    )
if ENGINES_PROFILE == "remote" and not REDIS_URL:
    raise ImproperlyConfigured(
        "ENGINES_PROFILE=remote needs REDIS_URL: the Redis through which this process and the workers "
        "(manage.py runworker) find each other"
    )
_engines_options = _json_object("ENGINES_OPTIONS")
if unknown := set(_engines_options) - {"stt", "llm", "tts"}:
    raise ImproperlyConfigured(f"ENGINES_OPTIONS has {', '.join(sorted(unknown))}; its keys are stt, llm and tts")
if not all(isinstance(options, dict) for options in _engines_options.values()):
    raise ImproperlyConfigured('ENGINES_OPTIONS holds one object per engine, as in {"stt": {"final_delay": 0.1}}')
# In every profile: a command may be told to use another than this process does.
ENGINES_PROFILES = {
    profile: {
        alias: {**engine, "OPTIONS": {**engine.get("OPTIONS", {}), **_engines_options.get(alias, {})}}
        for alias, engine in engines.items()
    }
    for profile, engines in ENGINES_PROFILES.items()
}
ENGINES = ENGINES_PROFILES[ENGINES_PROFILE]

# --- Logging ---------------------------------------------------------------------------------------------

LOG_LEVEL = os.environ.get("LOG_LEVEL", "").strip().upper() or "INFO"
_to_root: dict[str, Any] = {"handlers": [], "propagate": True}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "clientcaller.logs.DiscreetFormatter",
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # The servers bring handlers of their own: take them away, so that every line passes the formatter above.
    "loggers": {
        "django": _to_root,
        # Strangers who knock get their 404 or 403 without a line each; our own refusals say more.
        "django.request": {**_to_root, "level": "ERROR"},
        "django.security.DisallowedHost": {**_to_root, "level": "CRITICAL"},
        "django.server": _to_root,
        "uvicorn": _to_root,
        "uvicorn.access": {**_to_root, "level": "WARNING"},
        "uvicorn.error": _to_root,
        "daphne": {**_to_root, "level": "WARNING"},
        # A traceback each second while Redis is away; whoever uses it says so once.
        "channels_redis.pubsub": {**_to_root, "level": "CRITICAL"},
        "twilio": {**_to_root, "level": "WARNING"},
        # A line for each wake-up would be noise.
        "celery.app.trace": {**_to_root, "level": "WARNING"},
        "celery.worker.strategy": {**_to_root, "level": "WARNING"},
        "celery.worker.request": {**_to_root, "level": "WARNING"},
        "celery.beat": {**_to_root, "level": "WARNING"},
    },
}
