"""Conversations that chat templates are tried with, as transformers' apply_chat_template passes them."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Weather <now> & "later" in a city — é',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "City's name"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "days": {"type": "integer", "default": 1, "maximum": 18446744073709551615, "minimum": -1.5e-7},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def system(content):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def tool(id_, name, content):
    return {"role": "tool", "content": content, "name": name, "tool_call_id": id_}


def call(id_, name, arguments):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "user": [user("Hello, who are you?")],
    "system": [system("You are a pirate."), user("Hi")],
    "turns": [user("Hi"), assistant("Hello! How can I help?"), user("Tell me a joke"), assistant("No."), user("Please")],
    "system and turns": [system("Be brief."), user("Hi"), assistant("Hello!"), user("Bye")],
    "unicode": [
        system("Ты — помощник 🤖"),
        user("你好，世界! ñandú 👩‍👩‍👧 \u200b x"),
        assistant("مرحبا e\u0301"),
        user("'q' \"d\" \\b <b>&amp;</b> {{ x }} {% if %}"),
    ],
    "white space": [system("  padded \n"), user("\n\n leading, trailing \t\n"), assistant("  \n answer \n "), user(" ")],
    "empty": [system(""), user(""), assistant(""), user("")],
    "no messages": [],
    "assistant last": [user("Write a poem"), assistant("Roses are red,")],
    "assistant last, spaces": [user("Write a poem"), assistant("Roses are red, \n")],
    "assistant first": [assistant("Hi, ask me"), user("2+2?")],
    "two systems": [system("One"), system("Two"), user("Hi")],
    "late system": [user("Hi"), assistant("Yo"), system("Change"), user("ok?")],
    "user twice": [user("Hi"), user("again")],
    "unknown role": [user("Hi"), {"role": "critic", "content": "bad"}, user("why")],
    "null content": [
        user("Weather in Paris?"),
        assistant(None, tool_calls=[call("abcdef123", "get_weather", {"city": "Paris", "days": 2})]),
        tool("abcdef123", "get_weather", '{"temp": 21}'),
        assistant("It is 21 degrees."),
        user("Thanks"),
    ],
    "tool calls": [
        system("sys"),
        user("Both?"),
        assistant(
            "Let me look.",
            tool_calls=[call("call00001", "get_weather", {"city": "Zürich", "o": {"k": [1, 2.5, None, True]}}), call("call00002", "noop", {})],
        ),
        tool("call00001", "get_weather", "1"),
        tool("call00002", "noop", "2"),
        user("and?"),
    ],
    "reasoning": [user("1+1"), assistant("2", reasoning_content="Add."), user("2+2"), assistant("4", reasoning_content="\nSum\n")],
    "inline thoughts": [user("1+1"), assistant("<think>\nadd\n</think>\n\n2"), user("2+2")],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "image"}, {"type": "text", "text": " this? "}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat"}]},
    ],
}

# Extra variables, with the conversation that they are for.
VARIANTS = {
    "no thinking": ("inline thoughts", {"enable_thinking": False}),
    "thinking": ("inline thoughts", {"enable_thinking": True}),
}


def inputs():
    """name → what the template sees."""
    result = {}
    for name, messages in CONVERSATIONS.items():
        common = {"messages": messages, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
        result[name] = {**common, "add_generation_prompt": True}
        result[name + ", closed"] = {**common, "add_generation_prompt": False}
        if name in ("user", "system", "null content", "tool calls"):
            result[name + ", tools"] = {**common, "tools": TOOLS, "add_generation_prompt": True}
    for name, (of, variables) in VARIANTS.items():
        result[name] = {**result[of], **variables}
    return result


def is_plain(messages):
    """Whether a client of an API can send it: then ChatTemplate must give it to the template unchanged."""
    return all(isinstance(m["content"], str) and m["role"] in ("system", "user", "assistant", "tool") for m in messages)


TAG = "CONTINUE_FINAL_MESSAGE_TAG "


def cut(text, content):
    """transformers' continue_final_message: the rendering up to the end of the last message's content."""
    if content.strip() not in text or TAG.strip() not in text:
        raise ValueError("the final message does not appear in the chat")
    at = text.rindex(TAG.strip())
    return text[:at] if text[at : at + len(TAG)] == TAG else text[:at].rstrip()
