"""Check a translation by the words that can be looked up: common subjects, colours, numbers, "no".

This is no dictionary: it is there to notice an answer that shows something else than a prompt in
another language asks for. A prompt without any of these words is not compared. A word that means
something else here and there costs an expansion at worst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prompt_expansion.words import COLOURS, NUMBERS, negates, split_words, stem

_NO: Final = "no"

_COLOURS_AND_NUMBERS: Final = {
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
    "three": "tres drei trois tre três три трое",
    "four": "cuatro vier quatre quattro quatro четыре",
    "five": "cinco fünf cinq cinque пять",
    "six": "seis sechs шесть",
    _NO: "sin ohne kein keine keinen keiner sans senza nessun nessuna niente sem без",
}
_SUBJECTS: Final = {
    "cat kitten": "gato gata gatos gatito katze katzen kater kätzchen chat chatte chats chaton "
    "gatto gatta gatti gattino кот кота коты кошка кошки кошку котёнок котенок",
    "dog puppy": "perro perra perros perrito hund hunde hunden chien chienne chiens cane cani "
    "cagnolino cão cães cachorro cachorros собака собаки собаку щенок",
    "bird": "pájaro pájaros ave vogel vögel oiseau oiseaux uccello uccelli pássaro pássaros "
    "птица птицы",
    "horse pony": "caballo caballos pferd pferde cheval chevaux cavallo cavalli cavalo cavalos "
    "лошадь лошади конь",
    "fish": "pez peces fisch fische poisson poissons pesce pesci peixe peixes рыба рыбы",
    "fox": "zorro zorros fuchs renard renards volpe volpi raposa лиса лисица",
    "wolf wolves": "lobo lobos wolf wölfe loup loups lupo lupi волк волки",
    "bear": "oso osos bär bären ours orso orsi urso ursos медведь медведи",
    "dragon": "dragón dragones drache drachen drago draghi dragão дракон драконы",
    "man gentleman guy": "hombre mann homme uomo homem мужчина",
    "woman lady": "mujer frau femme donna mulher женщина",
    "girl": "niña chica mädchen fille ragazza bambina menina девочка девушка",
    "boy": "niño chico garçon ragazzo bambino menino мальчик",
    "child kid children": "niños kind kinder enfant enfants bambini crianças criança ребёнок "
    "ребенок дети",
    "car vehicle": "coche coches auto autos voiture voitures macchina macchine carro carros "
    "машина машины",
    "train": "tren trenes zug züge treno treni trem trens поезд поезда",
    "boat ship sailboat vessel": "barco barcos barca boot boote schiff schiffe bateau bateaux "
    "navio лодка лодки корабль",
    "tree": "árbol árboles baum bäume arbre arbres albero alberi árvore árvores дерево деревья",
    "flower": "flor flores blume blumen fleur fleurs fiore fiori цветок цветы",
    "house home cottage": "casa casas haus häuser maison maisons дом дома",
    "beach shore coast seaside": "playa strand plage spiaggia praia пляж пляже пляжу",
    "sea ocean": "mar meer mer mare море морю морем",
    "river stream": "río fluss rivière fiume rio река реки",
    "forest woods": "bosque wald forêt bosco floresta лес лесу",
    "mountain": "montaña montañas berg berge montagne montagnes montagna montanha гора горы",
    "snow": "nieve schnee neige neve снег снегу",
    "rain": "lluvia regen pluie pioggia chuva дождь дождём",
    "night": "noche nacht nuit notte noite ночь ночью",
    "city town": "ciudad stadt ville città cidade город городе",
    "dance dancer ballerina": "baila bailarina tanzt tänzerin danse danseuse ballerina "
    "dançarina танцует",
}
_SIGNS: Final = {
    "red": "红色 紅色 赤い 赤色 빨간 빨강 أحمر حمراء",
    "blue": "蓝色 藍色 青い 青色 파란 أزرق زرقاء",
    "green": "绿色 綠色 緑色 緑の 초록 أخضر خضراء",
    "yellow": "黄色 黃色 노란 أصفر صفراء",
    "black": "黑色 黒い 黒色 검은 أسود سوداء",
    "white": "白色 白い 하얀 أبيض بيضاء",
    _NO: "没有 沒有 无人 無人 のない のいない 없는 بدون",
    "cat kitten panda": "猫 貓 ネコ 고양이 قطة",
    "dog puppy": "狗 犬 강아지 كلب",
    "bird": "鸟 鳥 새가 طائر عصفور",
    "horse pony zebra hippo road carriage": "马 馬 حصان",
    "fish": "鱼 魚 물고기 سمكة",
    "fox": "狐 여우 ثعلب",
    "wolf": "狼 늑대 ذئب",
    "bear panda": "熊 곰이",
    "dragon": "龙 龍 드래곤",
    "girl woman": "女孩 少女 소녀 فتاة",
    "boy": "男孩 少年 소년 ولد",
    "child kid children boy girl": "孩子 子供 아이 طفل أطفال",
    "car vehicle": "汽车 汽車 자동차 سيارة",
    "train": "火车 火車 電車 列車 기차 قطار",
    "beach shore coast seaside": "沙滩 沙灘 海滩 海岸 砂浜 해변 شاطئ",
    "forest woods": "森林 森を 森の 숲 غابة",
    "snow": "雪 눈밭 ثلج",
    "rain": "下雨 下着雨 雨の 雨が مطر",
    "night": "夜晚 夜の 밤에 ليل",
    "umbrella": "伞 傘 우산 مظلة",
    "surf": "冲浪 衝浪 サーフィン",
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
        The word; None when nothing is missing that could be looked up.
    """
    stems = {stem(word) for word in given}
    for meant in _meant(prompt):
        words = meant.split()
        found = any(map(negates, given)) if meant == _NO else bool(stems & set(map(stem, words)))
        if not found:
            return words[0]
    return None


def _meant(prompt: str) -> Iterator[str]:
    """Yield what `prompt` asks for, in English; several words in one string are alternatives."""
    words = split_words(prompt)
    for table in (_COLOURS_AND_NUMBERS, _SUBJECTS):
        yield from _found(table, words)
    for english, signs in _SIGNS.items():
        if any(sign in prompt for sign in signs.split()):
            yield english
    yield from (_HAN_NUMBERS[number] for number in _HAN_COUNTED.findall(prompt))
    known = {stem(number) for number in NUMBERS}
    yield from (word for word in words if word.isdigit() and stem(word) in known)
    yield from (word for word in words if word in COLOURS and word not in {"orange", "violet"})


def _found(table: Mapping[str, str], words: Sequence[str]) -> Iterator[str]:
    for english, foreign in table.items():
        if not set(foreign.split()).isdisjoint(words):
            yield english
