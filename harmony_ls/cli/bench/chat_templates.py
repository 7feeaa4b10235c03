"""The chat templates of the shapes that the bench makes itself, with tools as their families show them."""

from typing import Final

__all__ = ["CHAT_ML", "HARMONY"]

HARMONY: Final = (
    "{%- if tools %}<|start|>developer<|message|># Tools\n\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|end|>{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}"
    "<|start|>functions.{{ message.name }} to=assistant<|channel|>commentary<|message|>{{ message.content }}<|end|>"
    "{%- elif message.role == 'assistant' %}"
    "{%- if message.content or not message.tool_calls %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|end|>"
    "{%- endif %}"
    "{%- for call in message.tool_calls or [] %}"
    "<|start|>assistant<|channel|>commentary to=functions.{{ call.function.name }}<|message|>"
    "{{ call.function.arguments }}<|call|>"
    "{%- endfor %}"
    "{%- else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""GPT-OSS's form of a conversation, as far as a bench needs it. What differs is how the tools are declared: as JSON."""

CHAT_ML: Final = (
    "{%- if tools %}<|im_start|>system\n"
    "# Tools\n\nEach call is an object with name and arguments within <tool_call></tool_call>.\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}{% set tool_call = call.function %}"
    '<tool_call>{"name": {{ tool_call.name | tojson }}, "arguments": {{ tool_call.arguments | tojson }}}</tool_call>'
    "{%- endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What the Hermes and Qwen families use; mlx-lm reads its calls with ``json_tools``."""
