"""The names of Deepgram's voices, and what is found wrong at the start, for both engines."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference.deepgram.voices import in_parts
from inference.engines.deepgram_aura import AuraOptions, AuraTextToSpeech
from inference.engines.deepgram_flux_tts import FluxOptions, FluxTextToSpeech
from inference.types import EngineError
from tests.inference.contract import leaving_no_task
from tests.inference.hosted.aura_service import AuraService
from tests.inference.hosted.deepgram_voice import KEY, says
from tests.inference.hosted.flux_tts_service import FluxService
from tests.inference.hosted.speaking import text_of


@pytest.fixture
async def aura() -> AsyncIterator[AuraService]:
    async with AuraService().serving() as serving:
        yield serving


@pytest.fixture
async def flux() -> AsyncIterator[FluxService]:
    async with FluxService().serving() as serving:
        yield serving


def aura_at(service: AuraService, **options: Any) -> AuraTextToSpeech:
    return AuraTextToSpeech(AuraOptions(**{"api_key": KEY, "base_url": service.base_url, **options}))


def flux_at(service: FluxService, **options: Any) -> FluxTextToSpeech:
    return FluxTextToSpeech(FluxOptions(**{"api_key": KEY, "base_url": service.base_url, **options}))


async def refusal_at_start(engine: Any) -> str:
    async with leaving_no_task():
        with pytest.raises(EngineError) as refused:
            await engine.start()
        await engine.close()
    assert refused.value.permanent
    return str(refused.value)


# --- Names and languages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("thalia", "aura-2-thalia-en"),
        ("Thalia", "aura-2-thalia-en"),
        ("celeste-es", "aura-2-celeste-es"),
        ("aura-2-apollo-en", "aura-2-apollo-en"),
        ("aura-asteria-en", "aura-asteria-en"),
    ],
)
def test_a_voice_of_aura_may_be_named_in_short(given, name):
    assert AuraTextToSpeech(AuraOptions(voice=given)).full_name(given) == name


def test_a_voice_of_flux_may_be_named_in_short():
    engine = FluxTextToSpeech(FluxOptions())
    assert engine.full_name("haley") == engine.full_name("flux-haley-en") == "flux-haley-en"


def test_the_languages_are_those_of_the_voices():
    assert AuraTextToSpeech(AuraOptions()).languages == {"en"}
    assert AuraTextToSpeech(AuraOptions(voice="viktoria-de", voices=["agathe-fr"])).languages == {"de", "fr"}
    assert FluxTextToSpeech(FluxOptions()).languages == {"en"}


def test_some_spanish_voices_speak_english_as_well():
    assert AuraTextToSpeech(AuraOptions(voice="javier-es")).languages == {"en", "es"}
    assert AuraTextToSpeech(AuraOptions(voice="celeste-es")).languages == {"es"}


async def test_the_default_voice_of_a_language_is_the_first_that_speaks_it(aura):
    engine = aura_at(aura, voices=["apollo", "celeste-es"])
    await engine.start()
    await says(engine.open(language="es-MX"), "Abrimos a las diez.")
    await says(engine.open(voice="apollo", language="en-GB"), "We open at ten.")
    await says(engine.open(), "We shut at six.")
    used = [socket.request.query["model"] for socket in aura.sockets if socket.received]
    assert sorted(used) == ["aura-2-apollo-en", "aura-2-celeste-es", "aura-2-thalia-en"]
    await engine.close()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"language": "de"}, r'no voice for "de" here\. Add a voice for it to the option voices: .*"aura"'),
        ({"voice": "thalia", "language": "de"}, r'aura-2-thalia-en does not speak "de"'),
        ({"voice": "apollo"}, r'not prepared for the voice "apollo", only for aura-2-thalia-en\. Add it to the option'),
        ({"voice": "flux-haley-en"}, r"it is one of TTS_ENGINE=flux-tts\."),
    ],
)
def test_another_voice_or_language_is_refused_with_what_to_do(asked, words):
    with pytest.raises(EngineError, match=words) as refused:
        AuraTextToSpeech(AuraOptions(api_key=KEY)).open(**asked)
    assert refused.value.permanent


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"language": "es"}, r'no voice for "es" here'),
        ({"voice": "thalia"}, r'not prepared for the voice "thalia"'),
        ({"voice": "aura-2-thalia-en"}, r"it is one of TTS_ENGINE=aura\."),
    ],
)
def test_flux_refuses_them_likewise(asked, words):
    with pytest.raises(EngineError, match=words) as refused:
        FluxTextToSpeech(FluxOptions(api_key=KEY)).open(**asked)
    assert refused.value.permanent


def test_the_key_is_not_shown():
    assert KEY not in repr(AuraOptions(api_key=KEY))
    assert KEY not in repr(AuraTextToSpeech(AuraOptions(api_key=KEY)).plan("aura-2-thalia-en"))


def test_voices_may_be_given_with_commas():
    assert AuraTextToSpeech(AuraOptions(voices="apollo, celeste-es")).languages == {"en", "es"}


async def test_long_clauses_are_divided_and_nothing_is_lost():
    clauses = ["One two three. ", "x" * 25, ""]
    assert [part async for part in in_parts(text_of(*clauses), 10)] == [
        "One two ", "three. ", "x" * 10, "x" * 10, "x" * 5, "",
    ]  # fmt: skip


# --- The start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [AuraTextToSpeech, FluxTextToSpeech])
async def test_a_key_is_needed(make):
    assert "Set DEEPGRAM_API_KEY." in await refusal_at_start(make())


async def test_a_bad_key_is_found_at_the_start(aura, flux):
    for engine in (aura_at(aura, api_key="another"), flux_at(flux, api_key="another")):
        said = await refusal_at_start(engine)
        assert "401: Invalid credentials." in said
        assert said.endswith("Check the key in DEEPGRAM_API_KEY.")
        assert "another" not in said


UNKNOWN = "refused the connection with 400: Bad Request: No such model/language/tier combination found. The voice was "


async def test_a_voice_that_does_not_exist_is_found_at_the_start(aura, flux):
    said = await refusal_at_start(aura_at(aura, voice="tahlia"))
    assert said == (
        f"Deepgram Aura {UNKNOWN}aura-2-tahlia-en, which TTS_VOICE or the option voice or voices of aura names. "
        "Did you mean aura-2-thalia-en?"
    )
    said = await refusal_at_start(aura_at(aura, voices=["zzzzzzzzzzzzzzzz"]))
    assert said.endswith("aura-2-zzzzzzzzzzzzzzzz-en, which TTS_VOICE or the option voice or voices of aura names.")
    # Deepgram lists no voices of Flux TTS.
    said = await refusal_at_start(flux_at(flux, voices=["hayley"]))
    assert said.endswith("flux-hayley-en, which TTS_VOICE or the option voice or voices of flux-tts names.")


async def test_a_voice_that_deepgram_does_not_list_is_used_if_it_can_be(aura):
    """Such as one that was made for the account."""
    aura.listed = ()
    engine = aura_at(aura)
    await engine.start()
    assert await says(engine.open(), "We open at ten.")
    await engine.close()


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_without_a_list_of_voices_the_refusal_has_no_suggestion(aura, status):
    aura.models_status = status
    assert (await refusal_at_start(aura_at(aura, voice="tahlia"))).endswith("voices of aura names.")


async def test_a_service_that_is_away_is_only_logged(caplog):
    async with AuraService().serving() as service:
        engine = aura_at(service)
    with caplog.at_level(logging.INFO):
        await engine.start()
    assert "is not available yet" in caplog.text
    assert "cannot reach Deepgram Aura" in caplog.text
    await engine.close()


async def test_further_parameters_are_in_the_address(flux):
    engine = flux_at(flux, parameters={"speed": "1.1"})
    await engine.start()
    assert flux.sockets[0].request.query["speed"] == "1.1"
    await engine.close()


async def test_every_voice_has_warm_sockets_of_its_own(aura):
    engine = aura_at(aura, voices=["apollo"], warm=1)
    await engine.start()
    assert sorted(socket.request.query["model"] for socket in aura.sockets) == ["aura-2-apollo-en", "aura-2-thalia-en"]
    await engine.close()


def test_the_description_names_the_voices():
    description = AuraTextToSpeech(AuraOptions(voices=["apollo"], limit=7)).describe()
    assert description.weights == "aura-2-thalia-en, aura-2-apollo-en, hosted by Deepgram"
    assert description.capacity == 7
