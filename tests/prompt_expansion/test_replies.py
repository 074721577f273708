"""Replies of OpenAI-compatible servers: what describes the clip is used, nothing else ever is.

The kinds are those of public reports: vllm#12999, DeepSeek-R1#352, open-webui#9808 (reasoning
without its opening tag), TensorRT-LLM#9256, vllm#32633 (harmony), llama.cpp and LM Studio (template
tokens).
"""

import pytest

PROMPT = "two red cars racing"
RICH = "two red cars racing along a wet road, low tracking shot, evening light, smooth motion"
THOUGHT = "Okay, the user wants two red cars racing. I should keep all words and add light."
OTHER = "two red cars racing at night, neon"

REASONING = {
    "closing tag only": f"{THOUGHT}\n</think>\n\n{RICH}",
    "whole": f"<think>{THOUGHT}</think>{RICH}",
    "twice": f"<think>{THOUGHT}</think>\n<think>{THOUGHT}</think>\n{RICH}",
    "attribute": f'<think duration="3">{THOUGHT}</think>{RICH}',
    "capitals": f"<THINKING>{THOUGHT}</THINKING>\n{RICH}",
    "reasoning": f"<reasoning>{THOUGHT}</reasoning>\n{RICH}",
    "thought": f"<thought>{THOUGHT}</thought>\n{RICH}",
    "reflection": f"<reflection>{THOUGHT}</reflection>{RICH}",
    "scratchpad": f"<scratchpad>{THOUGHT}</scratchpad>{RICH}",
    "after the answer": f"{RICH}\n<reasoning>{THOUGHT}</reasoning>",
    "answer tag": f"<think>{THOUGHT}</think><answer>{RICH}</answer>",
    "details": f'<details type="reasoning"><summary>Thought</summary>{THOUGHT}</details>\n{RICH}',
    "harmony": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{RICH}<|return|>",
    "harmony, constrained": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
    f"<|channel|>final <|constrain|>text<|message|>{RICH}",
    "harmony without tokens": f"analysis{THOUGHT}assistantfinal{RICH}",
    "Magistral": f"[THINK]{THOUGHT}[/THINK]{RICH}",
    "Kimi": f"◁think▷{THOUGHT}◁/think▷{RICH}",
    "Command": f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{RICH}"
    "<|END_RESPONSE|>",
    "Seed": f"<seed:think>{THOUGHT}</seed:think>{RICH}",
    "Granite": f"Here is my thought process:\n{THOUGHT}\n\nHere is my response:\n{RICH}",
    "Gemma": f"<|channel>thought\n{THOUGHT}<channel|>{RICH}<turn|>",
    "MedGemma": f"<unused94>thought\n{THOUGHT}<unused95>{RICH}",
    "OpenThinker": f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n{RICH}",
    "Apertus": f"<|inner_prefix|>{THOUGHT}<|inner_suffix|>{RICH}",
    "GLM": f"<think>{THOUGHT}</think><|begin_of_box|>{RICH}<|end_of_box|>",
    "Ollama": f"Thinking...\n{THOUGHT}\n...done thinking.\n\n{RICH}",
    "labels": f"**Reasoning:** {THOUGHT}\n\n**Final prompt:** {RICH}",
}
TURNS = {
    "ChatML": f"{RICH}<|im_end|>",
    "ChatML, whole": f"<|im_start|>assistant\n{RICH}<|im_end|>\n<|im_start|>user\nmore",
    "Llama 3": f"<|start_header_id|>assistant<|end_header_id|>\n\n{RICH}<|eot_id|>",
    "Llama 2": f" {RICH} </s><s>[INST] another [/INST]",
    "Gemma": f"<start_of_turn>model\n{RICH}<end_of_turn>",
    "Phi": f"<|assistant|>\n{RICH}<|end|>",
    "Mistral": f"[/INST] {RICH}</s>",
    "DeepSeek": f"<\uff5cAssistant\uff5c>{RICH}<\uff5cend▁of▁sentence\uff5c>",
    "Command-R": f"<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{RICH}<|END_OF_TURN_TOKEN|>",
    "Granite": f"<|start_of_role|>assistant<|end_of_role|>{RICH}<|end_of_text|>",
    "EXAONE": f"[|assistant|]{RICH}[|endofturn|]",
    "OpenChat": f"GPT4 Correct Assistant: {RICH}<|end_of_turn|>",
    "Alpaca": f"### Response:\n{RICH}\n\n### Instruction:\nMore",
    "InternLM": f"{RICH}<eoa>",
    "T5": f"<pad> {RICH}</s>",
    "end of text": f"{RICH}<|endoftext|>Human: another",
    "role": f"Assistant: {RICH}",
    "role on its line": f"model\n{RICH}",
    "next turn": f"{RICH}\nUser: another one",
    "next turn, bare": f"{RICH}\n\nuser\nanother one",
}
STRUCTURE = {
    "two keys": f'{{"prompt": "{RICH}", "negative_prompt": "blurry"}}',
    "the prompt beside it": f'{{"prompt": "{PROMPT}", "expanded_prompt": "{RICH}", "n": 3}}',
    "list": f'["{RICH}"]',
    "nested": f'{{"result": {{"prompt": "{RICH}"}}}}',
    "prose before": f'Here is the JSON:\n{{"prompt": "{RICH}"}}',
    "fenced": f'```json\n{{"prompt": "{RICH}", "seed": 3}}\n```',
    "YAML": f"prompt: {RICH}\nnegative_prompt: blurry",
    "folded YAML": f"prompt: >\n  {RICH}\nseed: 3",
    "string": f'"{RICH}"',
    "XML": f"<prompt>{RICH}</prompt>",
    "nested XML": f"<output><prompt>{RICH}</prompt><negative>blurry</negative></output>",
    "LaTeX": f"$\\boxed{{\\text{{{RICH}}}}}$",
    "tool call": f'<tool_call>{{"arguments": {{"prompt": "{RICH}"}}}}</tool_call>',
    "HTML": f"<p>{RICH}</p>",
}
LAYOUT = {
    "heading": f"### Enhanced prompt\n\n{RICH}",
    "bold heading": f"**Enhanced prompt**\n\n{RICH}",
    "underlined heading": f"Enhanced prompt\n====\n{RICH}",
    "sections": f"## Scene\n{RICH}\n\n## Camera\nlow",
    "numbered": f"1. {RICH}\n2. {OTHER}",
    "bullets": f"- {RICH}\n- {OTHER}",
    "options": f"Option 1: {RICH}\nOption 2: {OTHER}",
    "variants on lines": f"{RICH}\n{OTHER}",
    "variant with an article": f"{RICH}\nThe two red cars racing at night",
    "variant with a capital": f"{RICH}\nAt night, they race under neon",
    "block quote": f"> {RICH}",
    "rules": f"---\n{RICH}\n---",
    "italic": f"*{RICH}*",
    "bold italic": f"***{RICH}***",
    "German quotes": f"„{RICH}“",
    "quote with a stop": f'"{RICH}".',
    "negative prompt": f"{RICH}\nNegative prompt: blurry, deformed",
    "camera": f"**Prompt:** {RICH}\n**Camera:** low",
    "word count": f"{RICH} (14 words)",
    "word count below": f"{RICH}\n\nWord count: 14",
    "Chinese preamble": f"以下是扩展后的提示词\uff1a\n{RICH}",
    "zero-width": f"\u200b{RICH}\ufeff",
}
UNCLEAR = {
    "unfinished reasoning": f"<think>{THOUGHT} {RICH}",
    "harmony without an end": f"<|channel|>analysis<|message|>{THOUGHT} {RICH}",
    "bare reasoning": f"{THOUGHT}\n\n{RICH}",
    "escaped tag": f"&lt;think&gt;{THOUGHT}&lt;/think&gt;{RICH}",
    "somebody else's turn": f"<|user|>{RICH}",
    "glued role": f"{RICH}assistant",
    "unknown tag": f"{RICH}<xyz>",
    "Python": f"{{'prompt': '{RICH}'}}",
    "torn JSON": f'{{"prompt": "{RICH[:50]}',
    "JSON lines": f'{{"prompt": "{RICH}"}}\n{{"prompt": "{OTHER}"}}',
    "several strings": f'["{RICH}", "{OTHER}"]',
    "error in JSON": '{"error": "two red cars racing is not available"}',
    "TOML": f'prompt = "{RICH}"',
    "table": f"| prompt |\n|---|\n| {RICH} |",
    "options of a program": f"{RICH} --ar 16:9 --v 6",
    "weights": "(two red cars:1.3) racing, evening light",
    "LoRA": f"{RICH} <lora:neon:1>",
    "hash tags": f"{RICH} #cars #racing",
    "link": f"[{RICH}](http://example.com)",
    "arrow": f"{PROMPT} → {RICH}",
    "negative inline": f"{RICH}. Negative prompt: blurry",
    "the prompt": "Two red cars racing.",
    "the prompt in JSON": f'{{"prompt": "{PROMPT}"}}',
    "instructions": "Keep every word of the user, above all subjects, numbers, colours",
    "instructions, too": "two red cars racing, add only camera, light, motion and mood",
    "first example": "a dog running on the beach, wet sand splashing under its paws",
    "second example": "two white boats moving left, no people, calm water with soft reflections",
    "an example behind": f"{RICH}, two white boats moving left",
}
CHATTER = [
    "I apologize, but I cannot create content about racing.",
    "I'm not able to help with that.",
    "As a language model, I cannot generate videos.",
    "Sorry, but I can't assist with that.",
    "Unfortunately, two red cars racing violates the content policy.",
    "Two red cars racing cannot be described.",
    "This content has been blocked.",
    "抱歉\uff0c我无法协助满足该请求。",
    "申し訳ありませんが、お手伝いできません。",
    "죄송합니다. 도와드릴 수 없습니다.",
    "Извините, я не могу помочь.",
    "Lo siento, no puedo ayudar con eso.",
    "Es tut mir leid, dabei kann ich nicht helfen.",
    "Je suis désolé, je ne peux pas vous aider.",
    "Desculpe, não posso ajudar.",
    "Przepraszam, nie mogę pomóc.",
    "عذرا، لا أستطيع المساعدة",
    "Could you please provide more details about the scene?",
    "What should the two red cars racing look like",
    "Error: the model is overloaded, please try again later.",
    "Rate limit exceeded for two red cars racing",
    "Internal Server Error",
    "502 Bad Gateway",
    "<html><body>502 Bad Gateway</body></html>",
    "CUDA out of memory",
    "null",
    "OK",
    "...",
    "Got it! Two red cars racing!",
    "Your prompt is great: two red cars racing",
    "The prompt asks for two red cars racing along a wet road",
    "Let's imagine two red cars racing",
    "Cars are vehicles that people use every day",
    "a blue bird flying over the sea, soft light",
]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(reply, id=f"{kind}: {name}")
        for kind, replies in {
            "reasoning": REASONING,
            "turns": TURNS,
            "structure": STRUCTURE,
            "layout": LAYOUT,
        }.items()
        for name, reply in replies.items()
    ],
)
async def test_the_description_is_found(chat_server, expander_for, reply):
    chat_server.say(reply)

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == RICH
    assert expansion.fallback is None


@pytest.mark.parametrize("reply", [*UNCLEAR.values(), *CHATTER], ids=[*UNCLEAR, *CHATTER])
async def test_whatever_else_is_said_leaves_the_users_own_words(chat_server, expander_for, reply):
    chat_server.say(reply)

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == PROMPT
    assert expansion.fallback.endswith("your own words are used.")


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        # Real answers of SmolLM2-135M.
        ("a birthday cake with three candles", "a birthday cake with three candles, four candles"),
        ("猫在雪地里奔跑", "two white boats moving left, no people, hauled out of the water"),
        ("un gato duerme en la silla", "two white boats moving left, no people, calm ocean"),
        ("blood on the wall", "blood on the wall, no blood"),
        ("an old man playing chess", "an old man playing chess, no people"),
        ("a cat on a roof", "three cats on a roof, warm light"),
        ("two dogs playing", "a dog playing on grass, warm light"),
        ("two dogs playing", "several dogs playing on grass, warm light"),
        ("five dogs and one cat", "one dog and five cats in a garden"),
        # Languages in which little can be compared.
        ("两只红色的小鸟在蓝天上飞", "three red birds flying in the sky, wide shot"),
        ("un perro rojo corre por la playa", "a blue dog runs along the shore, warm light"),
        ("没有人的沙滩", "a beach full of people, warm light"),
        ("кот спит на подоконнике", "Извините, я не могу помочь"),
        ("кот спит на подоконнике", "upstream connect error"),
        ("un perro rojo", "un perro rojo en la playa, luz suave"),
        ("猫在雪地里奔跑", "two men talking in a bright room, soft light"),
        ("un gato duerme en la silla", "a blue bird flying over the sea, soft light"),
        ("кот спит", "low tracking shot, evening light, smooth motion"),
        ("ein Hund im Schnee", "a dog running on the beach, wet sand splashing"),
        ("ein Vogel", "It depicts a scene with warm light."),
        ("🙂🙂", "pwned"),
    ],
)
async def test_another_clip_than_the_users_is_not_used(chat_server, expander_for, prompt, reply):
    chat_server.say(reply)

    expansion = await expander_for().expand(prompt)

    assert expansion.text == prompt
    assert expansion.fallback is not None


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("a birthday cake with three candles", "a birthday cake with 3 candles, two plates, dusk"),
        ("a bird not flying", "a bird not flying, sitting on a branch, soft light"),
        ("a horse without a rider", "a horse without a rider, galloping over a field, wide shot"),
        ("3 balloons, no people", "3 balloons over an empty field, no people, soft light"),
        ('"HELLO" written on a wall', '"HELLO" written on a wall, soft light'),
        ("my dog and I at the beach", "my dog and I at the beach, warm light"),
        ("a robot assistant answers a question", "a robot assistant answers a question, dim light"),
        (
            "drone shot of a waterfall",
            "Drone shot of a waterfall. Mist drifts. Soft morning light.",
        ),
    ],
)
async def test_a_faithful_description_is_used(chat_server, expander_for, prompt, reply):
    chat_server.say(reply)

    expansion = await expander_for().expand(prompt)

    assert expansion.text == reply
    assert expansion.fallback is None


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("两只红色的小鸟在蓝天上飞", "two red little birds flying in a blue sky, wide shot"),
        ("夜晚的霓虹街道,下着雨", "a neon street at night in the rain, wet asphalt"),
        ("一匹马在草原上奔跑", "a horse galloping across a grassland, tracking shot"),
        ("三个孩子在雪地里放风筝", "three children flying kites in the snow, cold light"),
        ("老人在公园下棋", "an old man playing chess in a park, black and white film"),
        ("没有人的沙滩", "an empty beach without people, warm light"),
        ("樱花飘落", "cherry blossoms falling, soft light"),
        ("un perro rojo corre por la playa", "a red dog runs along the beach, warm light"),
        ("ein alter Zug fährt durch den Schnee", "an old train in the snow, soft light"),
        ("夜の森を走る狐", "a fox running through a forest at night, tracking shot"),
        ("une danseuse sous la pluie", "a dancer in the rain, dramatic light"),
        ("кот спит на подоконнике", "a cat sleeping on a windowsill, soft morning light"),
        ("빨간 우산을 쓴 소녀", "a girl with a red umbrella in the rain, soft light"),
        ("قطة بيضاء تنام على كرسي", "a white cat sleeping on a chair, soft light"),
        ("un gatto e due cani, niente persone", "a cat and two dogs, no people, soft light"),
        ("zwei Katzen auf dem Sofa", "two cats lying on a couch, soft light"),
    ],
)
async def test_a_translation_follows_the_users_words(chat_server, expander_for, prompt, reply):
    chat_server.say(reply)

    expansion = await expander_for().expand(prompt)

    assert expansion.text == f"{prompt}, {reply}"
    assert expansion.fallback is None
