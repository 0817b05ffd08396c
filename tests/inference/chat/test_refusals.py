"""Which error a refusal is, in a sample of the words that known servers use."""

import pytest

from inference.chat.refusals import refusal, retry_after, without_quotations
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineLoading, QuotaExhausted


def refused(status: int, said: str) -> EngineError:
    return refusal(status, said, where="http://gpu/v1/chat/completions", model="gemma")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens."),
        (400, "max_tokens must be at least 1, got -4."),
        (400, '{"error": {"code": "context_length_exceeded", "message": "Your input exceeds the limit"}}'),
        (400, "Please reduce the length of the messages or completion."),
        (413, "Request too large for model `llama` in organization `o` on tokens per minute (TPM): Limit 12000"),
        (429, "Request too large for model `llama` on tokens per minute (TPM): Limit 12000, Requested 15318"),
        (
            400,
            "The sum of prompt length (4000) and max_tokens (160) should not exceed max_seq_len (4096)",
        ),
        (400, "Prompt length (5000) exceeds maximum input length (4096)"),
        (500, '{"error":"the input length exceeds the context length"}'),
        (400, "prompt too long; exceeded max context length by 12 tokens"),
        (400, "the request exceeds the available context size, try increasing it"),
    ],
)
def test_a_prompt_that_is_too_long_is_recognised(status, said):
    error = refused(status, said)
    assert isinstance(error, ContextTooLarge)
    assert said in str(error)


@pytest.mark.parametrize(
    ("status", "said", "kind", "permanent"),
    [
        (429, "Rate limit reached for model `llama-3.3-70b-versatile`", EngineFull, False),
        (429, '{"error": {"code": "insufficient_quota"}}', QuotaExhausted, False),
        (429, "You exceeded your current quota, please check your plan and billing details.", QuotaExhausted, False),
        (429, "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99871", QuotaExhausted, False),
        (
            *(429, "Rate limit reached on tokens per minute (TPM): Limit 6000. Upgrade at /settings/billing"),
            *(EngineFull, False),
        ),
        (400, '{"error": {"code": "billing_hard_limit_reached"}}', QuotaExhausted, False),
        (403, '{"error": {"code": "blocked_api_access", "message": "spend limit reached"}}', QuotaExhausted, False),
        (402, "Payment Required", QuotaExhausted, False),
        (503, "The engine is currently overloaded, please try again later", EngineFull, False),
        (503, '{"error": {"message": "Too many in-flight requests", "code": 503}}', EngineFull, False),
        (498, "capacity_exceeded", EngineFull, False),
        (503, '{"error": {"message": "Loading model", "type": "unavailable_error"}}', EngineLoading, False),
        (500, "CUDA error: an illegal memory access was encountered", EngineError, False),
        (502, "Bad Gateway", EngineError, False),
        (401, "Incorrect API key provided", EngineError, True),
        (403, "Forbidden", EngineError, True),
        (301, "Moved Permanently", EngineError, True),
    ],
)
def test_other_refusals_say_whether_a_retry_is_useful(status, said, kind, permanent):
    error = refused(status, said)
    assert type(error) is kind
    assert error.permanent is permanent


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (404, "model 'gemma' not found", "ollama pull gemma"),
        (404, "The model `gemma` does not exist.", "http://gpu/v1/models lists them"),
        (400, "The model `gemma` has been decommissioned and is no longer supported.", "set LLM_MODEL"),
        (400, '{"error": {"code": "model_decommissioned"}}', "set LLM_MODEL"),
        (403, '{"error": {"code": "model_not_found"}}', "set LLM_MODEL"),
        (410, "Gone", "set LLM_MODEL"),
        (400, "Got priority 5 but Priority scheduling is not enabled.", "--scheduling-policy priority"),
        (422, "Unexpected fields in the request: {'priority'}", '"priority" to false'),
        (400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", '"server" to "openai"'),
        (400, "Unsupported value: 'temperature' does not support 0.7 with this model.", '"temperature" to null'),
    ],
)
def test_the_error_tells_the_operator_what_to_do(status, said, hint):
    error = refused(status, said)
    assert hint in str(error)
    assert error.permanent


def test_the_error_about_a_hosted_model_does_not_speak_of_ollama():
    error = refusal(404, "no model", where="https://api.openai.com/v1/chat/completions", model="gpt-4o")
    assert "https://api.openai.com/v1/models lists them" in str(error)
    assert "ollama" not in str(error)


def test_a_full_server_says_when_to_ask_again():
    error = refusal(429, "Rate limit reached", where="http://gpu", model="gemma", wait=7.5)
    assert isinstance(error, EngineFull)
    assert error.retry_after == 7.5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2), ("0.5", 0.5), (None, 1), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("-3", 0), ("1e9", 60), ("nan", 0)],
)
def test_how_long_no_request_is_sent_to_a_full_server(header, seconds):
    assert retry_after(header) == seconds


@pytest.mark.parametrize(
    ("body", "turns", "message"),
    [
        ("Invalid 'priority': got 1", ["What is the priority of my parcel?"], "Invalid 'priority': got 1"),
        ("msg: bad, input: my name is Ada Lovelace", ["Hello, my name is Ada Lovelace."], "msg: bad, input: … … … … …"),
        ('{"input":"I\'m Ada.\\nI live in Ockham"}', ["I'm Ada.", "I live in Ockham"], '{"input":"… ….\\n… … … …"}'),
        ("cannot read: Ada", ["Ada"], "cannot read: …"),
        ("cut off: my name is A", ["my name is Ada"], "cut off: … … … A"),
        ("too many tokens", ["", "?"], "too many tokens"),
        ("", ["Ada"], ""),
    ],
)
def test_a_refusal_does_not_quote_what_was_said(body, turns, message):
    assert without_quotations(body, turns) == message


def test_the_words_left_out_of_a_refusal_still_decide_its_kind():
    error = refusal(503, "Loading model", where="http://gpu", model="gemma", turns=["Loading model?"])
    assert isinstance(error, EngineLoading)
    assert "oading" not in str(error)
