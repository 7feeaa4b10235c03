"""Chat templates in the manner of well-known model families, each with a tokenizer that has the family's markers.

Written anew and short, but each with what makes its family hard: roles that are refused, texts that are trimmed,
reasoning that is dropped, calls in JSON, XML or Python.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harmony_ls.engine.tokenizer.tokenizer import Tokenizer
from tests.engine.tokenizers import read
from tests.models import TokenizerRecipe, write_tokenizer

__all__ = ["CHAT_RECIPES", "chat_tokenizer", "spelled"]

OPENS = "{% if add_generation_prompt %}"

QWEN = (
    "{% macro call(tool_call) %}{% set tool_call = tool_call.function %}"
    '<tool_call>\n{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}\n</tool_call>'
    "{% endmacro %}"
    "{% set system = messages[0].content if messages[0].role == 'system' else 'You are helpful.' %}"
    "<|im_start|>system\n{{ system }}{% if tools %}{{ '\n\n' }}# Tools\n<tools>"
    "{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}{{ '\n' }}</tools>{% endif %}<|im_end|>\n"
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}"
    "{% if loop.previtem.role != 'tool' %}<|im_start|>user{% endif %}"
    "{{ '\n' }}<tool_response>\n{{ message.content }}\n</tool_response>"
    "{% if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>\n{% endif %}"
    "{% elif message.role == 'assistant' %}<|im_start|>assistant\nREASONING{{ message.content }}"
    "{% for tool_call in message.tool_calls %}"
    "{% if not loop.first or message.content %}{{ '\n' }}{% endif %}{{ call(tool_call) }}{% endfor %}<|im_end|>\n"
    "{% elif not (loop.first and message.role == 'system') %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endif %}{% endfor %}" + OPENS + "<|im_start|>assistant\nOPENING{% endif %}"
)
QWEN_2 = QWEN.replace("REASONING", "").replace("OPENING", "")
QWEN_3 = QWEN.replace(
    "REASONING",
    "{% if loop.index0 > ns.last_question and message.reasoning_content %}"
    "<think>\n{{ message.reasoning_content.strip('\\n') }}\n</think>\n\n{% endif %}",
).replace("OPENING", "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}")
QWEN_3 = (
    "{% set ns = namespace(last_question=-1) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set ns.last_question = loop.index0 %}{% endif %}{% endfor %}" + QWEN_3
)
# The newest ones open the reasoning in the prompt, and cut it out of the text of answers.
QWEN_3_THINKING = QWEN_3.replace(
    "{{ message.content }}{% for", "{{ message.content.split('</think>')[-1].lstrip('\\n') }}{% for"
).replace("{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}", "<think>\n")

QWEN_CODER = QWEN_2.replace(
    '<tool_call>\n{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}\n</tool_call>',
    "<tool_call>\n<function={{ tool_call.name }}>"
    "{% for key, value in tool_call.arguments.items() %}{{ '\n' }}<parameter={{ key }}>\n"
    "{{ value if value is string else value | tojson }}\n</parameter>{% endfor %}{{ '\n' }}</function>\n</tool_call>",
)

LLAMA_3 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}<|start_header_id|>system<|end_header_id|>\n\n"
    "{{ messages[0].content | trim }}<|eot_id|>{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'tool' or message.role == 'ipython' %}<|start_header_id|>ipython<|end_header_id|>\n\n"
    "{{ message.content | tojson }}<|eot_id|>"
    "{% elif message.tool_calls %}<|start_header_id|>assistant<|end_header_id|>\n\n"
    "{% if message.tool_calls | length != 1 %}{{ raise_exception('One call at a time!') }}{% endif %}"
    '{"name": "{{ message.tool_calls[0].function.name }}", '
    '"parameters": {{ message.tool_calls[0].function.arguments | tojson }}}<|eot_id|>'
    "{% else %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{% if loop.first and tools %}Functions:\n{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}{{ '\n' }}"
    "{% endif %}{{ message.content | trim }}<|eot_id|>{% endif %}{% endfor %}"
    + OPENS
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(n=0, last_question=-1) %}"
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
    "{% endif %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set ns.last_question = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}"
    "{% if message.role == 'user' or (message.role == 'assistant' and message.tool_calls is not defined) %}"
    "{% if (message.role == 'user') != (ns.n % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant') }}{% endif %}"
    "{% set ns.n = ns.n + 1 %}{% endif %}"
    "{% if message.role == 'user' %}{% if loop.index0 == ns.last_question and tools %}"
    "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST] {% if loop.last and system is defined %}{{ system }}\n\n{% endif %}"
    "{{ message.content }}[/INST]"
    "{% elif message.tool_calls is defined %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('Call ids have 9 letters!') }}{% endif %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}"
    "{% elif message.role == 'assistant' %} {{ message.content | trim }}{{ eos_token }}"
    "{% elif message.role == 'tool' %}[TOOL_RESULTS] "
    '{"content": {{ message.content | tojson }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]'
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}" + OPENS + "<start_of_turn>model\n{% endif %}"
)

PYTHONIC = QWEN_2.replace(
    '<tool_call>\n{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}\n</tool_call>',
    "<|tool_call_start|>[{{ tool_call.name }}({% for key, value in tool_call.arguments.items() %}"
    "{{ key }}={{ value | tojson }}{% if not loop.last %}, {% endif %}{% endfor %})]<|tool_call_end|>",
)

# Calls whose arguments must be text, as DeepSeek's templates put them together.
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'tool' %}<|tool_output|>{{ message.content }}<|end|>"
    "{% else %}<|{{ message.role }}|>{{ message.content }}{% for call in message.tool_calls %}"
    "<|tool_call|>{{ call.function.name + '\n' + call.function.arguments }}{% endfor %}<|end|>{% endif %}"
    "{% endfor %}" + OPENS + "<|assistant|>{% endif %}"
)

# Levels of effort, and a plain concatenation in which texts could make a marker together.
EFFORTS = (
    "<|im_start|>system\nReasoning: {{ reasoning_effort | default('medium') }}\n<|im_end|>"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"
    + OPENS
    + "<|im_start|>assistant\n{% endif %}"
)
SEAMS = "{% for message in messages %}{{ message.content }}{% endfor %}" + OPENS + "<|im_start|>{% endif %}"
NO_MARKERS = (
    "{% for message in messages %}### {{ message.role }}:\n{{ message.content }}\n\n{% endfor %}"
    + OPENS
    + "### assistant:\n{% endif %}"
)

_CHATML = TokenizerRecipe(special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>")
_TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_THINK_TAGS = ("<think>", "</think>")
_LLAMA_MARKERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
_MISTRAL_MARKERS = (
    *("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)

CHAT_RECIPES: Mapping[str, TokenizerRecipe] = {
    "qwen": replace(_CHATML, plain=_TOOL_TAGS, chat_template=QWEN_2),
    # As Hermes' Llamas: the tags are spelled in ordinary tokens.
    "qwen spelled": replace(_CHATML, chat_template=QWEN_2),
    "qwen3": replace(_CHATML, plain=(*_TOOL_TAGS, *_THINK_TAGS), chat_template=QWEN_3),
    "qwen3 thinking": replace(_CHATML, plain=(*_TOOL_TAGS, *_THINK_TAGS), chat_template=QWEN_3_THINKING),
    "qwen3 coder": replace(_CHATML, plain=_TOOL_TAGS, chat_template=QWEN_CODER),
    "llama3": TokenizerRecipe(special=_LLAMA_MARKERS, eos="<|eot_id|>", bos="<|begin_of_text|>", chat_template=LLAMA_3),
    "mistral": TokenizerRecipe(special=_MISTRAL_MARKERS, eos="</s>", bos="<s>", metaspace=True, chat_template=MISTRAL),
    "gemma": TokenizerRecipe(
        special=("<start_of_turn>", "<end_of_turn>"), eos="</s>", bos="<s>", metaspace=True, chat_template=GEMMA
    ),
    "pythonic": replace(
        _CHATML,
        special=(*_CHATML.special, "<|tool_call_start|>", "<|tool_call_end|>"),
        plain=_TOOL_TAGS[2:],
        chat_template=PYTHONIC,
    ),
    "deepseek": TokenizerRecipe(
        special=("<|system|>", "<|user|>", "<|assistant|>", "<|tool_call|>", "<|tool_output|>", "<|end|>", "<s>"),
        eos="<|end|>",
        bos="<s>",
        chat_template=DEEPSEEK,
    ),
    "efforts": replace(_CHATML, chat_template=EFFORTS),
    "seams": replace(_CHATML, special=(*_CHATML.special, "<|tool|>"), chat_template=SEAMS),
    "no markers": replace(_CHATML, chat_template=NO_MARKERS),
}
"""A tokenizer with a chat template for each family."""


def chat_tokenizer(folder: Path, family: str) -> Tokenizer:
    """The tokenizer of a family, written to a folder and read from it."""
    write_tokenizer(folder, CHAT_RECIPES[family])
    return read(folder)


def spelled(tokenizer: Tokenizer, tokens: tuple[int, ...] | list[int]) -> str:
    """The text of tokens with their markers, as a person reads it."""
    text, run = "", []
    for token in tokens:
        if tokenizer.is_marker(token):
            text += tokenizer.decode(run) + tokenizer.marker_text(token)
            run = []
        else:
            run.append(token)
    return text + tokenizer.decode(run)
