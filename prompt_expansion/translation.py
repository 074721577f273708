"""Check a translation by the few words that can be looked up: colours, numbers and "no".

Only words that mean one thing wherever they stand are listed. Missing words do no harm: what is not
found is not compared.
"""

import re
from collections.abc import Sequence
from typing import Final

from prompt_expansion.words import COLOURS, NUMBERS, negates, split_words, stem

_WORDS: Final = {
    "red": "rojo roja rojos rojas rote roter rotes roten rouge rouges rosso rossa rossi rosse "
    "vermelho vermelha vermelhos vermelhas красный красная красное красные красного красной",
    "blue": "azul azules azuis blau blaue blauer blaues blauen bleu bleue bleus bleues blu azzurro "
    "azzurra синий синяя синее синие голубой голубая",
    "green": "verde verdes verdi grün grüne grüner grünes grünen vert verte verts vertes зелёный "
    "зеленый зелёная зеленая зелёные зеленые",
    "yellow": "amarillo amarilla amarillos amarillas gelb gelbe gelber gelbes gelben jaune jaunes "
    "giallo gialla gialli gialle amarelo amarela жёлтый желтый жёлтая желтая жёлтые желтые",
    "black": "negro negra negros negras schwarz schwarze schwarzer schwarzes schwarzen noir noire "
    "noirs noires nero nera neri nere preto preta pretos pretas чёрный черный чёрная черная чёрные",
    "white": "blanco blanca blancos blancas weiß weiße weißer weißes weißen blanc blanche blancs "
    "blanches bianco bianca bianchi bianche branco branca brancos brancas белый белая белое белые",
    "two": "dos zwei deux due dois duas два две",
    "three": "tres drei trois tre três три",
    "four": "cuatro vier quatre quattro quatro четыре",
    "five": "cinco fünf cinq cinque пять",
    "six": "seis sechs шесть",
    "no": "sin ohne kein keine keinen keiner sans senza nessun nessuna niente sem без",
}
_SIGNS: Final = {
    "red": "红色 紅色 赤い 赤色 빨간 빨강 أحمر حمراء",
    "blue": "蓝色 藍色 青い 青色 파란 أزرق زرقاء",
    "green": "绿色 綠色 緑色 緑の 초록 أخضر خضراء",
    "yellow": "黄色 黃色 노란 أصفر صفراء",
    "black": "黑色 黒い 黒色 검은 أسود سوداء",
    "white": "白色 白い 하얀 أبيض بيضاء",
    "no": "没有 沒有 无人 無人 のない のいない 없는 بدون",
}
_HAN_NUMBERS: Final = {"兩": "two"} | dict(
    zip("两二三四五六七八九", "two two three four five six seven eight nine".split(), strict=True)
)
_HAN_COUNTED: Final = re.compile(
    rf"(?<![十百千万])([{''.join(_HAN_NUMBERS)}])[只隻个個匹条條辆輛名位头頭朵棵艘座把架群支根颗顆羽台本人]"
)


def mistranslation(prompt: str, given: Sequence[str]) -> str | None:
    """Return the English word that `prompt` asks for in its language and `given` does not have.

    Args:
        prompt: The user's words, in any language but English.
        given: The words of the English answer.

    Returns:
        A colour, a number or "no"; None when nothing is missing.
    """
    stems = {stem(word) for word in given}
    for word in _meant(prompt):
        found = any(map(negates, given)) if word == "no" else stem(word) in stems
        if not found:
            return word
    return None


def _meant(prompt: str) -> list[str]:
    words = set(split_words(prompt))
    meant = [english for english, foreign in _WORDS.items() if words.intersection(foreign.split())]
    meant += [
        english
        for english, foreign in _SIGNS.items()
        if any(sign in prompt for sign in foreign.split())
    ]
    meant += [_HAN_NUMBERS[number] for number in _HAN_COUNTED.findall(prompt)]
    digits = [word for word in words if word.isascii() and word.isdigit()]
    meant += [word for word in digits if stem(word) in map(stem, NUMBERS)]
    meant += [word for word in words if word in COLOURS and word not in {"orange", "violet"}]
    return meant
