"""
Every setting of the project, as a function of the environment (``clientcaller/environment.py`` reads it).

Without any environment this is a development server on a laptop: SQLite, everything in one process, a
made-up Twilio account. ``DEBUG=0`` is production: nothing secret has a default there, and ``manage.py check
--deploy`` reports what is missing or contradictory (``calls/checks.py``).
"""

import logging
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from calls import area_codes, costs, numbers, rates
from clientcaller import VERSION, environment, local_models, profiles

# --- The project -----------------------------------------------------------------------------------------

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = environment.folder("VAR_DIR", BASE_DIR / "var")
"""The folder for everything that the server writes: SQLite's database, recordings, the spool, static files."""

DEBUG = environment.flag("DEBUG", default=True)

DEVELOPMENT_SECRET_KEY = "development-only-key-that-protects-nothing-and-is-known-to-everybody"
"""The default while ``DEBUG=1``; ``manage.py check`` refuses it in production."""
SECRET_KEY = environment.text("SECRET_KEY") or (DEVELOPMENT_SECRET_KEY if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        'SECRET_KEY is not set, and DEBUG=0 needs one. Set it to a long random text, as from "openssl rand -base64 48".'
    )

PUBLIC_BASE_URL = environment.base_url("PUBLIC_BASE_URL", "http://127.0.0.1:8000")
"""The address of this server for Twilio. Signatures are checked against it, never against the ``Host`` header."""

# Twilio's requests come to the public host, whatever else is allowed. A forged Host header with a loopback name gains
# nothing.
ALLOWED_HOSTS = [
    environment.host_of(PUBLIC_BASE_URL),
    *(host.rstrip(".") for host in environment.items("ALLOWED_HOSTS")),  # as Django does with those of requests
    *environment.LOOPBACK_HOSTS,
]
CSRF_TRUSTED_ORIGINS = [environment.origin_of(PUBLIC_BASE_URL)]

INSTALLED_APPS = [
    # daphne adds ASGI to `runserver`. Production starts its server directly and need not load Twisted.
    *(["daphne"] if DEBUG else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # `inference` comes before `channels`, so that its `runworker` command replaces that of Channels.
    "inference",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "calls",
    "media",
    # For its commands.
    "clientcaller",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "calls.hosts.HostMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "calls.admin.logins.remember_browser",
    "calls.admin.queries.QueryMiddleware",
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "clientcaller.urls"
ASGI_APPLICATION = "clientcaller.asgi.application"
# A redirected POST loses its body and its signature, so paths are routed with and without their slash instead.
APPEND_SLASH = False

TIME_ZONE = "UTC"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- Storage ---------------------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_URL = environment.text("DATABASE_URL")
DATABASES = {"default": environment.database("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}")}
DATABASE_POOLED = environment.flag("DATABASE_POOLED", default=False)
"""Whether a pooler such as PgBouncer gives each transaction another connection. Nothing may then last longer."""
for _database in DATABASES.values():
    _database["DISABLE_SERVER_SIDE_CURSORS"] = DATABASE_POOLED
if not DATABASE_URL:
    VAR_DIR.mkdir(parents=True, exist_ok=True)

# Twilio waits 15 s for TwiML. If the database is unavailable, a connection must fail well before that, so that there is
# time to answer with a spoken apology.
_DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.sqlite3": {
        # IMMEDIATE takes the write lock at BEGIN, where the busy timeout applies. The default takes it at the first
        # write, where a transaction that has read already fails at once.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        # secure_delete: what is removed is overwritten in the file, also what `forget` removes.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON",
    },
    # A server that has gone away is noticed within ten seconds, also if its host does not refuse.
    "django.db.backends.postgresql": {"connect_timeout": 3, "tcp_user_timeout": 10_000, "keepalives_idle": 10},
}
for _database in DATABASES.values():
    _database["OPTIONS"] = {**_DATABASE_OPTIONS.get(_database["ENGINE"], {}), **_database.get("OPTIONS", {})}

MEDIA_ROOT = VAR_DIR / "media"
"""The recordings, unless ``STORAGES`` names another place. Only the admin and the API serve them, after a check."""
MEDIA_URL = "media/"
SPOOL_DIR = VAR_DIR / "spool"
"""Data that must survive a loss of the database or the process: unfinished recordings and facts not yet written."""

STATIC_URL = "static/"
STATIC_ROOT = environment.folder("STATIC_DIR", VAR_DIR / "static")
"""Where ``collectstatic`` puts the files of the pages."""
# WhiteNoise would take these from DEBUG, which Django's test runner turns off after the settings are loaded.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
# Django warns of this for every static file under ASGI. It is harmless, because the files are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
RECORDINGS_S3_BUCKET = environment.text("RECORDINGS_S3_BUCKET")
"""The bucket for recordings; without one they are files under ``MEDIA_ROOT``."""
RECORDINGS_S3_ENDPOINT = (
    environment.base_url("RECORDINGS_S3_ENDPOINT", "") if environment.text("RECORDINGS_S3_ENDPOINT") else ""
)
"""The address of the store; empty: Amazon's."""
RECORDINGS_S3_REGION = environment.text("RECORDINGS_S3_REGION")
RECORDINGS_S3_ACCESS_KEY = environment.text("RECORDINGS_S3_ACCESS_KEY")
RECORDINGS_S3_SECRET_KEY = environment.text("RECORDINGS_S3_SECRET_KEY")
"""The key of the bucket's owner; empty: what the machine has, as the SDKs of Amazon find it."""
_recordings: dict[str, Any] = (
    {
        "BACKEND": "calls.s3_storage.S3Storage",
        "OPTIONS": {
            "bucket": RECORDINGS_S3_BUCKET,
            "endpoint": RECORDINGS_S3_ENDPOINT,
            "region": RECORDINGS_S3_REGION,
            "access_key": RECORDINGS_S3_ACCESS_KEY,
            "secret_key": RECORDINGS_S3_SECRET_KEY,
        },
    }
    if RECORDINGS_S3_BUCKET
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"}
)
STORAGES = {
    "default": {
        "BACKEND": "calls.encrypted_storage.EncryptedStorage",
        "OPTIONS": {
            # Base64, of 32 bytes each: the first one encrypts recordings, each decrypts. Without any they are stored as
            # they are.
            "keys": environment.keys("RECORDING_KEYS"),
            "storage": _recordings,
        },
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# "default" assigns a new session to exactly one worker: all of them receive from one channel name. "stream" carries an
# open session between two private channel names, each of which has one receiver.
REDIS_URL = environment.text("REDIS_URL")
STREAM_REDIS_URLS = environment.items("STREAM_REDIS_URL") or ([REDIS_URL] if REDIS_URL else [])
"""The Redis servers between web processes and engine workers, among which channels are divided. All processes need the
same ones in the same order."""
if STREAM_REDIS_URLS and not REDIS_URL:
    raise ImproperlyConfigured("STREAM_REDIS_URL is set, but REDIS_URL is not. Set REDIS_URL for everything else.")
CHANNEL_LAYERS: dict[str, dict[str, Any]] = (
    {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # The layer waits 5 s for a message. That is also redis-py's time-out, which would lose the message.
            "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 10}], "capacity": 1000},
        },
        "stream": {"BACKEND": "clientcaller.pubsub_layer.PubSubChannelLayer", "CONFIG": {"hosts": STREAM_REDIS_URLS}},
    }
    if REDIS_URL
    else {
        alias: {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
        for alias in ("default", "stream")
    }
)

# --- Background tasks (Celery) ---------------------------------------------------------------------------

# A Celery message only starts a task that claims due rows of the database, so a lost message delays work until the
# next periodic one and loses nothing. Without Redis, messages are files on this machine (clientcaller/file_broker.py).
_broker = environment.text("CELERY_BROKER_URL", REDIS_URL)
CELERY_BROKER_URL = _broker or "files://localhost"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    # If Redis does not answer, a caller of .delay() waits for a second at most: two attempts of half a second.
    {"max_retries": 1, "interval_start": 0, "interval_max": 0.1, "socket_connect_timeout": 0.5, "socket_timeout": 0.5}
    if _broker
    else {"folder": str(VAR_DIR / "broker"), "polling_interval": 0.1}
)
if _broker.startswith("rediss:") and "ssl_cert_reqs" not in _broker:
    # Kombu does not verify the certificate by default, unlike the other clients of this URL.
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": "required"}
CELERY_BROKER_CONNECTION_TIMEOUT = 1.0
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
# A worker keeps trying to connect to its broker.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Results are written to the database, and none is read from Celery.
CELERY_TASK_IGNORE_RESULT = True
# The dialler decides what is repeated, by compare-and-set; the broker must never deliver a task twice.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Tasks wait for the carrier and the database most of the time, so threads are enough.
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = environment.whole_number("WORKER_CONCURRENCY", 8, at_least=1)
# This only prevents a warning at each restart of Redis. It concerns late acknowledgement, which is off.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
# This scheduler keeps no file and ends with its worker.
CELERY_BEAT_SCHEDULER = "clientcaller.beat:Scheduler"
# Each message expires when the next one is sent, so that they never pile up.
CELERY_BEAT_SCHEDULE = {
    name: {"task": f"calls.tasks.{name}", "schedule": period, "options": {"expires": period}}
    for name, period in {"dial_due": 1.0, "deliver_webhooks": 2.0, "reconcile": 15.0, "tidy": 300.0}.items()
}

# --- Security --------------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else environment.whole_number("SECURE_HSTS_SECONDS", 30 * 24 * 3600, at_least=0)
# Set this only behind a proxy that overwrites the header; otherwise any client could claim to use TLS.
if environment.flag("TRUST_X_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
FORWARDED_ALLOW_IPS = environment.text("FORWARDED_ALLOW_IPS", "127.0.0.1")
"""The proxies whose ``X-Forwarded-For`` names the client: addresses and networks, or ``*``."""
# Guesses at the console's login are slowed down (django-axes): after so many failures from one address, or with one
# name, no login is tried for a while. A line of the log and a row of the console tell of each. A browser in which the
# operator has logged in during the last 180 days has a cookie that says so. Its failures are counted by themselves, so
# that guesses from elsewhere do not keep the operator out, and a stolen cookie allows no more guesses than a stranger.
AXES_FAILURE_LIMIT = 10
AXES_LOCKOUT_PARAMETERS = "calls.admin.logins.counted_by"
AXES_USERNAME_CALLABLE = "calls.admin.logins.counted_as"
AXES_CLIENT_IP_CALLABLE = "calls.admin.logins.address_of"
AXES_COOLOFF_TIME = timedelta(minutes=5)
# Tries during that time do not prolong it, or a stranger could keep an operator out for as long as they like.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# The log shall say who guesses at whose login. The password is masked in any case.
AXES_SENSITIVE_PARAMETERS: list[str] = []
AXES_COOLOFF_MESSAGE = "Too many logins have failed. Try again in five minutes."
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains would bind hosts that this project does not serve,
    "security.W021",  # and so would preloading
    "security.W008",  # the proxy ends TLS and redirects; a redirect here would break Twilio's signed POSTs
]

# --- Twilio ----------------------------------------------------------------------------------------------

# The defaults while DEBUG=1. The simulated telephone network takes them, and Twilio does not.
DEVELOPMENT_ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
DEVELOPMENT_AUTH_TOKEN = "development-auth-token"
TWILIO_ACCOUNT_SID = environment.text("TWILIO_ACCOUNT_SID") or (DEVELOPMENT_ACCOUNT_SID if DEBUG else "")
TWILIO_AUTH_TOKENS = environment.items("TWILIO_AUTH_TOKEN") or ([DEVELOPMENT_AUTH_TOKEN] if DEBUG else [])
"""One token, or two (comma separated) during a rotation, in which Twilio signs with the old one until its end."""
TWILIO_AUTH_TOKEN = TWILIO_AUTH_TOKENS[0] if TWILIO_AUTH_TOKENS else ""
TWILIO_PHONE_NUMBER = numbers.canonical(environment.text("TWILIO_PHONE_NUMBER", "+15005550006" if DEBUG else ""))
SIMULATED = TWILIO_ACCOUNT_SID == DEVELOPMENT_ACCOUNT_SID
"""Whether no account is set, so that calls go to the simulated network (``manage.py network``) and not to Twilio."""
SIMULATED_API_URL = "http://127.0.0.1:8010"
"""The address at which ``manage.py network`` listens by default."""
TWILIO_API_BASE_URL = environment.base_url(
    "TWILIO_API_BASE_URL", SIMULATED_API_URL if SIMULATED else "https://api.twilio.com"
)

# --- Calls -----------------------------------------------------------------------------------------------

MAX_LIVE_CALLS = environment.whole_number("MAX_LIVE_CALLS", 20, at_least=1)
"""Calls that may be live at once in all processes of this database; one more caller hears that the line is busy."""
DRAIN_LIMIT = environment.number("DRAIN_LIMIT", 900.0, at_least=0)
"""Seconds that a web process which is asked to end (SIGTERM) waits for its calls; what is left then goes elsewhere."""
STREAM_TOKEN_TTL = environment.number("STREAM_TOKEN_TTL", 30.0, at_least=1)
"""Seconds that Twilio has to open the media stream that a TwiML answer asked for."""
TRANSFER_TIME_LIMIT = environment.whole_number("TRANSFER_TIME_LIMIT", 3600, at_least=60)
"""Seconds that a transferred call may last."""
CONVERSATION = environment.json_object("CONVERSATION")
"""Values that replace the defaults of ``media/turns/options.py``, by name."""
NOISE_SUPPRESSION = environment.choice("NOISE_SUPPRESSION", "off", ("off", "low", "moderate", "high", "very-high"))
"""How much of the noise around a caller is taken out of the sound before it is recognised (``media/noise.py``)."""

# --- Calling out -----------------------------------------------------------------------------------------

CALLS_PER_SECOND = environment.number("CALLS_PER_SECOND", 1.0, at_least=0.01, at_most=1000)
"""Calls that the carrier dials in a second (Twilio: 1 without a business profile); faster requests only queue there."""
OUTBOUND_MAX_CALLS = environment.whole_number("OUTBOUND_MAX_CALLS", max(1, MAX_LIVE_CALLS * 4 // 5), at_least=1)
"""Outbound calls that may be live at once; the rest of ``MAX_LIVE_CALLS`` is kept free for inbound calls."""
ATTEMPTS_PER_NUMBER_AND_DAY = environment.whole_number("ATTEMPTS_PER_NUMBER_AND_DAY", 3, at_least=1)
"""Times that one number may be dialled in any 24 hours, for whatever call."""
DIAL_COUNTRIES = tuple(environment.items("DIAL_COUNTRIES")) or ("US", "CA")
"""ISO codes of the countries that may be called; ``*`` stands for all."""
try:
    NEW_AREA_CODES = area_codes.parse_new_codes(environment.items("NEW_AREA_CODES"))
except ValueError as error:
    raise ImproperlyConfigured(f"NEW_AREA_CODES is wrong: {error}") from None
"""Area codes of +1 that libphonenumber does not have yet: ``436``, or ``436=440`` if 436 serves the area of 440."""
DIAL_NUMBER_TYPES = tuple(environment.items("DIAL_NUMBER_TYPES")) or (
    "FIXED_LINE",
    "MOBILE",
    "FIXED_LINE_OR_MOBILE",
    "VOIP",
)
CALLING_HOURS: dict[str, str] = environment.json_object("CALLING_HOURS") or {
    "*": "00:00-24:00" if SIMULATED else "08:00-21:00"
}
"""The hours in which numbers may be dialled, by country, in local time: see ``calls.schedule.CallingHours``."""

# --- The REST API ----------------------------------------------------------------------------------------

API_RATE = environment.text("API_RATE", "600/minute")
"""The requests that an API key may make, unless the key has a rate of its own."""
if not rates.is_rate(API_RATE):
    raise ImproperlyConfigured(f'API_RATE is "{API_RATE}". Write it like 600/minute, per second, minute, hour or day.')
RECORDING_LINK_TTL = environment.whole_number("RECORDING_LINK_TTL", 3600, at_least=1)
"""Seconds for which a link to a recording works."""
WEBHOOK_ALLOWED_HOSTS: list[str] = environment.hosts(
    "WEBHOOK_ALLOWED_HOSTS", "localhost,127.0.0.0/8,::1" if DEBUG else ""
)
"""Hosts and networks that webhooks may be sent to although they are not on the internet."""
# The cache counts requests for the rate limit. Without Redis each process counts on its own.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "clientcaller",
        # An unavailable Redis must not delay requests; the rate limit lets them pass then.
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
    "EXCEPTION_HANDLER": "calls.api.problems.handle_exception",
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
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "calls.api.schema.describe"],
    "ENUM_NAME_OVERRIDES": {
        "CallStatus": "calls.api.schema.CALL_STATUSES",
        "DeliveryStatus": "calls.api.schema.DELIVERY_STATUSES",
        "MachineDetection": "calls.models.MachineDetection",
        "PauseCause": "calls.models.DialPause.Cause",
        "PauseScope": "calls.models.DialPause.Scope",
        "Speaker": "calls.models.Turn.Speaker",
    },
}

# --- Privacy ---------------------------------------------------------------------------------------------

REDACT_NUMBERS = environment.flag("REDACT_NUMBERS", default=False)
"""Whether numbers of cards, accounts and social security are taken out of transcripts and muted in recordings."""

# --- Retention -------------------------------------------------------------------------------------------

# Days after which recordings and transcripts are deleted; 0 keeps them.
RETENTION_RECORDINGS_DAYS = environment.whole_number("RETENTION_RECORDINGS_DAYS", 0, at_least=0)
RETENTION_TRANSCRIPTS_DAYS = environment.whole_number("RETENTION_TRANSCRIPTS_DAYS", 0, at_least=0)

# --- Engines ---------------------------------------------------------------------------------------------

MODELS_FOLDER = local_models.models_folder()
"""The folder of the weights that ``manage.py models`` fetches."""
MODELS_HUB = environment.base_url("MODELS_HUB", "https://huggingface.co")
MODELS_TOKEN = environment.text("MODELS_TOKEN")
"""The access token for models that are not open to everybody."""
# The file of a turn model, which judges by the sound whether the caller has finished; empty: there is none.
TURN_MODEL = environment.text("TURN_MODEL")
_profiles = profiles.engine_profiles(TURN_MODEL)
ENGINES_PROFILES = _profiles.settings
ENGINES_MISSING = _profiles.missing
"""For each profile what its engines need and is not set, in words."""
ENGINES_PROFILE = environment.choice("ENGINES_PROFILE", "laptop", ENGINES_PROFILES)
ENGINES_PROFILE_IS_SET = bool(environment.text("ENGINES_PROFILE"))
"""Whether the operator has chosen the profile. Otherwise `make demo` and `make talk` may choose a better one."""
ENGINES = ENGINES_PROFILES[ENGINES_PROFILE]
ENGINES_REPLACED = ", ".join(
    f"{name}={value}" for name in ("STT_ENGINE", "LLM_ENGINE", "TTS_ENGINE") if (value := environment.text(name))
)
"""The settings that replace engines of every profile, as they are shown beside its name."""
if ENGINES_MISSING[ENGINES_PROFILE]:
    raise ImproperlyConfigured(
        f"The chosen engines need what is not set: {', '.join(ENGINES_MISSING[ENGINES_PROFILE])}. "
        "Set it, or choose other engines (ENGINES_PROFILE, STT_ENGINE, LLM_ENGINE, TTS_ENGINE)."
    )
if not REDIS_URL and (_remote := [alias for alias in ENGINES if profiles.is_remote(ENGINES[alias])]):
    raise ImproperlyConfigured(
        f'The engine of {", ".join(_remote)} is "remote", but REDIS_URL is not set. Set it to the Redis through which '
        "this process and the workers (manage.py runworker) find each other, or choose another engine "
        "(ENGINES_PROFILE, STT_ENGINE, LLM_ENGINE, TTS_ENGINE)."
    )

ENGINE_CURRENCY = environment.text("ENGINE_CURRENCY", "USD")
"""The currency of ``ENGINE_PRICES``, as it is shown."""
try:
    ENGINE_PRICES = costs.read_prices(environment.json_object("ENGINE_PRICES"))
except ValueError as error:
    raise ImproperlyConfigured(f"ENGINE_PRICES is wrong: {error}") from None
"""What engines bill, for one second, character or token: the cost of each call is estimated with it."""

# --- Metrics ---------------------------------------------------------------------------------------------

METRICS: dict[str, Any] = {
    # Whoever reaches this address can read how many calls there are, so that by default only this machine can.
    "host": environment.text("METRICS_HOST", "127.0.0.1"),
    "port": int(environment.number("METRICS_PORT", 0, at_least=0, at_most=65535)),
    "version": VERSION,
    "revision": environment.text("REVISION"),
    "profile": ENGINES_PROFILE,
}
"""Where a process answers Prometheus (port 0: nowhere), and what it says of itself."""

# --- Logging ---------------------------------------------------------------------------------------------

LOG_LEVEL = environment.choice("LOG_LEVEL", "INFO", logging.getLevelNamesMapping())
LOG_FORMATS = {"text": "line", "json": "json"}
"""The formatter for each value of ``LOG_FORMAT``."""
LOG_FORMAT = environment.choice("LOG_FORMAT", "text", LOG_FORMATS)
_to_root: dict[str, Any] = {"handlers": [], "propagate": True}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "clientcaller.logs.DiscreetFormatter",
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "clientcaller.logs.JSONFormatter"},
    },
    "filters": {
        "client_faults": {"()": "clientcaller.logs.ClientFaults"},
        "strangers_lines": {"()": "clientcaller.logs.StrangersLines"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMATS[LOG_FORMAT],
            "filters": ["strangers_lines"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # The servers install their own handlers. Remove them, so that every line goes through the formatter above.
    "loggers": {
        "django": _to_root,
        # Do not log each 404 and 403 of unsolicited requests. Refusals by the project have their own lines.
        "django.request": {**_to_root, "level": "ERROR"},
        "django.server": _to_root,
        "uvicorn": _to_root,
        "uvicorn.access": {**_to_root, "level": "WARNING"},
        "uvicorn.error": {**_to_root, "filters": ["client_faults"]},
        "daphne": {**_to_root, "level": "WARNING"},
        # It logs a traceback every second while Redis is unavailable. The users of the layer log it once.
        "channels_redis.pubsub": {**_to_root, "level": "CRITICAL"},
        "twilio": {**_to_root, "level": "WARNING"},
        # They log lines for every message at INFO.
        "celery.app.trace": {**_to_root, "level": "WARNING"},
        "celery.worker.strategy": {**_to_root, "level": "WARNING"},
        "celery.worker.request": {**_to_root, "level": "WARNING"},
        "celery.beat": {**_to_root, "level": "WARNING"},
    },
}
