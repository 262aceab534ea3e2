"""openai-python against the real binary."""

import asyncio
import time

import openai
import pytest

from conftest import towergate

HELLO = [{"role": "user", "content": "Hello!"}]


def fault(spec):
    """The simulated OpenAI misbehaves by model name."""
    return f"fault:{spec}"


def test_a_chat_completion(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_a_stream(client):
    stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    parts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert len(parts) > 2
    assert "".join(parts).startswith("You said: Hello!")


def test_usage_comes_when_it_is_asked_for(client):
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=options)
    *_, last = stream
    assert last.usage.total_tokens > 0 and last.choices == []


def test_embeddings(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 1


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert names
    assert client.models.retrieve(names[0]).id == names[0]


def test_responses(client):
    answer = client.responses.create(model="gpt-4o", input="Hello!")
    assert answer.output_text
    with client.responses.stream(model="gpt-4o", input="Hello!") as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_a_file_goes_up_and_comes_down(client):
    content = bytes(range(256)) * 1024
    uploaded = client.files.create(file=("data.bin", content), purpose="user_data")
    assert uploaded.bytes == len(content)


def test_the_async_client(url):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client:
            answers = [client.chat.completions.create(model="gpt-4o", messages=HELLO) for _ in range(20)]
            return await asyncio.gather(*answers)

    assert len({answer.choices[0].message.content for answer in asyncio.run(ask())}) == 1


# Status of the upstream, and the exception with the attempts that the SDK must make of our answer.
# The SDK would send each of the last ones three times, did the gateway not tell it otherwise.
REFUSALS = [
    ("status=400", openai.BadRequestError, 400),
    ("status=403", openai.PermissionDeniedError, 403),
    ("status=404", openai.NotFoundError, 404),
    ("status=413", openai.APIStatusError, 413),
    ("status=422", openai.UnprocessableEntityError, 422),
    ("status=401", openai.InternalServerError, 500),
    ("status=429", openai.RateLimitError, 429),
    ("status=429;code=insufficient_quota", openai.RateLimitError, 429),
    ("status=500", openai.InternalServerError, 502),
    ("status=502", openai.InternalServerError, 502),
    ("status=503", openai.InternalServerError, 502),
    ("stall-head", openai.InternalServerError, 504),
    ("reset-before-head", openai.InternalServerError, 502),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spec, exception, status", REFUSALS)
def test_each_refusal_is_its_typed_exception_and_is_not_tried_again(
    client, attempts, spec, exception, status, stream
):
    began = time.monotonic()
    # Head, first event and idle are two seconds here; a stall must not be left to the SDK.
    with pytest.raises(exception) as raised:
        client.chat.completions.create(model=fault(spec), messages=HELLO, stream=stream)
    assert raised.value.status_code == status
    assert raised.value.body["message"]
    assert raised.value.request_id
    assert len(attempts) == 1
    assert time.monotonic() - began < 10


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="unknown-model", messages=HELLO)
    assert raised.value.code == "model_not_found"


def test_our_own_refusals_are_typed_too(client, url):
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body=["not an object"], cast_to=object)
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        openai.OpenAI(base_url=f"{url}/nowhere", api_key="unused").models.list()


@pytest.mark.parametrize("spec", ["truncate-after=3", "reset-after=3", "cut-after=3", "stall-after=3"])
def test_a_cut_stream_raises(client, spec):
    stream = client.chat.completions.create(model=fault(spec), messages=HELLO, stream=True)
    with pytest.raises((openai.APIError, openai.APIConnectionError)):
        for _ in stream:
            pass


def test_the_clients_patience_is_kept(client, attempts):
    began = time.monotonic()
    with pytest.raises((openai.InternalServerError, openai.APITimeoutError)):
        client.with_options(timeout=1, max_retries=0).chat.completions.create(
            model=fault("stall-head"), messages=HELLO
        )
    assert time.monotonic() - began < 1.9
    assert len(attempts) == 1


def test_client_keys():
    with towergate(TOWERGATE_CLIENT_KEYS="one-right-key") as url:
        right = openai.OpenAI(base_url=f"{url}/v1", api_key="one-right-key")
        assert list(right.models.list())
        wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="a-wrong-key")
        with pytest.raises(openai.AuthenticationError) as raised:
            wrong.models.list()
        assert "a-wrong-key" not in str(raised.value)
