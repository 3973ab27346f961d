from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from transformers import PreTrainedTokenizerFast

from fhe_client.model.errors import TemplateError
from fhe_client.text import template_worker
from fhe_client.text.templates import TemplateRenderer, plain_text
from fhe_client.text.transcript import Message, to_json
from tests.small_artefacts import CHAT_TEMPLATE, small_tokenizer

TALK = (
    Message("system", "Be brief."),
    Message("user", "What is <b>1 & 1</b>? ü€𝄞\n"),
    Message("assistant", "2"),
    Message("user", "Sure?"),
)
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATES = [
    CHAT_TEMPLATE,
    "{{ bos_token }}{% for m in messages %}{{ m | tojson }}{{ eos_token }}{% endfor %}",
    "{%- set ns = namespace(n=0) -%}\n{%- for m in messages %}\n    "
    "{%- if m.role == 'system' %}{% continue %}{% endif %}\n"
    "{% set ns.n = ns.n + 1 %}{{ ns.n }}: {{ m['content'] | trim }}\n{% endfor %}{{ dict(a=1) }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% if tools is not none %}x{% endif %}{% if documents %}y{% endif %}{{ messages[-1].content[::-1] }}{{ missing }}",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return small_tokenizer()


@pytest.mark.parametrize("template", TEMPLATES)
def test_worker_renders_what_transformers_renders(
    template: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    due = tokenizer.apply_chat_template(
        to_json(TALK), chat_template=template, add_generation_prompt=True, tokenize=False
    )
    variables = {
        **VARIABLES,
        "messages": to_json(TALK),
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    assert template_worker.render(template_worker.make_environment(), template, variables) == due


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{% set ns = namespace(__class__=1) %}",
        "{{ raise_exception('no') }}",
        "{% for",
        "{% for i in range(1000000) %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% include 'x' %}",
    ],
)
def test_worker_refuses(template: str) -> None:
    environment = template_worker.make_environment()
    request = f'{{"template": {template_worker._to_json(template)}, "variables": {{}}}}'.encode()
    answer = template_worker.answer(environment, request)
    assert set(answer) == {"error"}
    assert answer["error"].isidentifier()


@pytest.fixture
def renderer(request: pytest.FixtureRequest) -> Iterator[TemplateRenderer]:
    renderer = TemplateRenderer(request.param, VARIABLES, render_seconds=20.0)
    yield renderer
    renderer.close()


@pytest.mark.parametrize("renderer", [CHAT_TEMPLATE], indirect=True)
def test_renderer_is_used_again_and_again(renderer: TemplateRenderer) -> None:
    renderer.start()
    first = renderer._process
    text = renderer.render(TALK)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("Sure?<|im_end|>\n<|im_start|>assistant\n")
    assert "ü€𝄞" in text
    long = [Message("user", "x" * 300_000), Message("assistant", "y"), Message("user", "z")]
    assert len(renderer.render(long)) > 300_000
    assert renderer._process is first
    renderer.close()
    assert renderer.render(TALK) == text, "a closed renderer starts again"


@pytest.mark.parametrize("renderer", ["{{ raise_exception('no') }}"], indirect=True)
def test_refusing_template_is_reported_without_the_text(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateError, match="TemplateError") as caught:
        renderer.render(TALK)
    assert "Sure" not in str(caught.value)
    assert caught.value.next_step


def test_endless_template_is_ended_and_the_next_call_starts_anew() -> None:
    endless = (
        "{% if messages | length > 1 %}{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% endfor %}{% endfor %}{% endif %}ok"
    )
    renderer = TemplateRenderer(endless, {}, render_seconds=20.0)
    try:
        assert renderer.render(TALK[1:2]) == "ok"
        process = renderer._process
        renderer._render_seconds = 0.5
        with pytest.raises(TemplateError, match="too long"):
            renderer.render(TALK)
        assert process is not None
        assert process.returncode is not None, "the helper process must be gone"
        renderer._render_seconds = 20.0
        assert renderer.render(TALK[1:2]) == "ok"
    finally:
        renderer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no memory limit for a process there")
def test_template_that_takes_memory_is_ended() -> None:
    greedy = "{% set ns = namespace(s='a' * 1000) %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}x"
    renderer = TemplateRenderer(greedy, {}, render_seconds=60.0)
    try:
        with pytest.raises(TemplateError):
            renderer.render(TALK)
    finally:
        renderer.close()


def test_plain_text_can_end_within_a_reply() -> None:
    talk = [*TALK[1:2], Message("assistant", "It is# ")]
    assert plain_text(talk, "#") == "User: What is <b>1 & 1</b>? ü€𝄞\nAssistant: It is"


@pytest.mark.parametrize("renderer", [CHAT_TEMPLATE], indirect=True)
def test_a_reply_can_be_continued_as_transformers_does_it(
    renderer: TemplateRenderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    begun = Message("assistant", "The answer is")
    due = tokenizer.apply_chat_template(
        to_json([*TALK, begun]),
        chat_template=CHAT_TEMPLATE,
        continue_final_message=True,
        tokenize=False,
    )
    assert renderer.render([*TALK, Message("assistant", "The answer is#")], "#") == due


def test_plain_text_ends_where_the_reply_begins() -> None:
    assert plain_text(TALK[:2]) == "System: Be brief.\nUser: What is <b>1 & 1</b>? ü€𝄞\nAssistant:"
