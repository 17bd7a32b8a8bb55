"""The official SDK, with nothing but its usual variable: a whole answer, and streams whose rest comes once their beginning was seen."""

import os

import openai

client = openai.OpenAI()
messages = [{"role": "user", "content": "Say it."}]

whole = client.chat.completions.create(model="gpt-test", messages=messages)
print(f"whole={whole.choices[0].message.content}")

text, models = "", []
for chunk in client.chat.completions.create(model="gpt-test", messages=messages, stream=True):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    models = models or [model.id for model in client.models.list()]
print(f"stream={text}")
print(f"models={','.join(models)}")

text = ""
for event in client.responses.create(model="gpt-test", input="Say it.", stream=True):
    if event.type == "response.output_text.delta":
        text += event.delta
        client.models.list()
print(f"responses={text}")
print(f"held={os.environ['OPENAI_API_KEY']}")
