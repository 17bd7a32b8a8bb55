"""The official SDK, with nothing but its usual variable: a whole answer, and a stream whose rest comes once its beginning was seen."""

import os

import anthropic

client = anthropic.Anthropic()
request = {"model": "claude-test", "max_tokens": 64, "messages": [{"role": "user", "content": "Say it."}]}

whole = client.messages.create(**request)
print(f"whole={whole.content[0].text}")

text, models = "", []
with client.messages.stream(**request) as stream:
    for piece in stream.text_stream:
        text += piece
        models = models or [model.id for model in client.models.list()]
print(f"stream={text}")
print(f"models={','.join(models)}")
print(f"held={os.environ['ANTHROPIC_API_KEY']}")
