"""openai-python against several providers behind one configuration file."""

import openai
import pytest

from conftest import towergate

HELLO = [{"role": "user", "content": "Hello!"}]

# Both upstreams are simulated OpenAIs that misbehave by model name; "main" is told to.
CONFIGURATION = """
providers:
  main:
    base_url: {main}/v1
    models:
      good: gpt-4o
      down: "fault:503"
      cut: "fault:cut-after=3"
      long: "fault:400;code=context_length_exceeded"
      only-here: gpt-4o
    max_retries: 0
  spare:
    base_url: {spare}/v1
    priority: 2
    models: {{good: gpt-4o-mini, down: gpt-4o-mini, cut: gpt-4o-mini, larger: gpt-4o-mini}}
    keys:
      - {{name: one, api_key: sk-one}}
      - {{name: two, api_key: sk-two}}
routing:
  context_length_fallbacks: {{long: [larger]}}
client_keys:
  all: {{key: tg-all}}
  some: {{key: tg-some, allowed_models: [good, down]}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    # Demo gateways themselves: they must not retry in between.
    with towergate(OPENAI_MAX_RETRIES="0") as main, towergate(OPENAI_MAX_RETRIES="0") as spare:
        file = tmp_path_factory.mktemp("config") / "towergate.yaml"
        file.write_text(CONFIGURATION.format(main=main, spare=spare))
        with towergate("--config", str(file), command="serve") as url:
            yield url


def client_of(url, key):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(url):
    with client_of(url, "tg-all") as client:
        yield client


@pytest.fixture
def restricted(url):
    with client_of(url, "tg-some") as client:
        yield client


def ask(client, model, **options):
    return client.chat.completions.with_raw_response.create(model=model, messages=HELLO, **options)


def test_the_models_are_those_of_the_file(client):
    assert [model.id for model in client.models.list()] == ["cut", "down", "good", "larger", "long", "only-here"]
    assert client.models.retrieve("good").id == "good"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_a_key_sees_and_reaches_its_models_alone(restricted):
    assert [model.id for model in restricted.models.list()] == ["down", "good"]
    assert ask(restricted, "good").headers["x-towergate-provider"] == "main"
    with pytest.raises(openai.PermissionDeniedError):
        ask(restricted, "only-here")
    with pytest.raises(openai.PermissionDeniedError):
        restricted.files.list()


def test_a_wrong_key_is_refused(url):
    with client_of(url, "tg-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_another_provider_takes_over(client):
    answer = ask(client, "down")
    assert answer.headers["x-towergate-provider"] == "spare"
    assert (answer.headers["x-towergate-model"], answer.headers["x-towergate-fallbacks"]) == ("gpt-4o-mini", "1")
    assert answer.parse().model == "gpt-4o-mini"


def test_a_stream_is_taken_over_before_it_begins(client):
    with client.chat.completions.create(model="down", messages=HELLO, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.startswith("You said: Hello!")


def test_a_stream_that_breaks_off_is_no_answer(client):
    parts = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(model="cut", messages=HELLO, stream=True):
            parts.append(chunk.choices[0].delta.content or "")
    assert 0 < len("".join(parts)) < len("You said: Hello!") + 20


def test_a_request_that_is_too_long_goes_to_the_larger_model(client):
    assert ask(client, "long").headers["x-towergate-model"] == "gpt-4o-mini"


def test_a_client_names_fallbacks_that_its_key_reaches(client, restricted):
    headers = {"x-towergate-fallback-models": "only-here"}
    assert ask(client, "good", extra_headers=headers).headers["x-towergate-fallbacks"] == "0"
    with pytest.raises(openai.PermissionDeniedError):
        ask(restricted, "good", extra_headers=headers)


def test_a_model_that_nobody_serves_is_told_of(client):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, "gpt-5")
    assert refused.value.code == "model_not_found"
