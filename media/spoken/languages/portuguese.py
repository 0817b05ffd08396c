"""Portuguese of Portugal, and of Brazil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from num2words import num2words  # type: ignore[import-untyped]

from media.spoken.languages.language import (
    DateWords,
    Language,
    Noun,
    currencies,
    dictionary,
    fraction_speller,
    nouns,
    speller,
)

_MONTHS = "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"
_SHORT_MONTHS = "jan fev mar abr mai jun jul ago set out nov dez"
_european, _brazilian = speller("pt"), speller("pt_BR")


def _counter(cardinal: Callable[[int], str]) -> Callable[[int, Noun], str]:
    def count(value: int, noun: Noun) -> str:
        if value == 1:
            return noun.one
        words = cardinal(value)
        if noun.feminine:
            words = words.replace("entos", "entas")
            for masculine, feminine in (("um", "uma"), ("dois", "duas")):
                if words == masculine or words.endswith(f" {masculine}"):
                    words = words.removesuffix(masculine) + feminine
        joint = " de " if words.endswith(("milhão", "milhões", "bilhão", "bilhões")) else " "
        return f"{words}{joint}{noun.many}"

    return count


_ONE_FEMININE = frozenset(
    "pessoa hora noite semana mesa vez pergunta opção página cama cadeira chamada linha fatura conta garrafa cópia"
    " caixa unidade vaga reserva passagem mensagem".split()
)
"""Feminine nouns behind "1". Of other words it is not certain that they are counted: "a opção 1 para vendas"."""
_MASCULINE = frozenset(
    "dias mapas problemas programas idiomas sistemas temas quilogramas gramas planetas corações".split()
)
_FEMININE = frozenset("noites tardes vezes partes mulheres flores cores chaves fontes classes redes paredes".split())
_FEMININE_ENDS = ("as", "ções", "sões", "stões", "iões", "ades", "agens")


def _is_feminine(noun: str) -> bool:
    return noun in _FEMININE or (noun.endswith(_FEMININE_ENDS) and noun not in (*_MASCULINE, "aviões", "camiões"))


def _feminine(count: Callable[[int, Noun], str]) -> Callable[[int, str], str | None]:
    def before_noun(value: int, noun: str) -> str | None:
        """Gives "duas" in front of "pessoas", a feminine noun in the plural."""
        if value == 1:
            return "uma" if noun in _ONE_FEMININE else None
        if value % 100 in (11, 12) or not _is_feminine(noun):
            return None
        return count(value, Noun("", noun, feminine=True)).removesuffix(f" {noun}")

    return before_noun


def _dater(cardinal: Callable[[int], str]) -> Callable[[DateWords], str]:
    def date(words: DateWords) -> str:
        day = "primeiro" if words.day == 1 else cardinal(words.day)
        return " de ".join(filter(None, [day, words.month, words.year]))

    return date


def _clock_sayer(cardinal: Callable[[int], str], count: Callable[[int, Noun], str]) -> Callable[[int, int, str], str]:
    def clock(hour: int, minute: int, unit: str) -> str:
        words = count(hour, _HOUR)
        return f"{words.rpartition(' ')[0]} e {cardinal(minute)}" if minute else words

    return clock


def _ordinal(value: int, written: str, _before: str) -> str:
    words = str(num2words(value, lang="pt", to="ordinal"))
    return " ".join(word[:-1] + "a" for word in words.split()) if written.endswith(("ª", "a")) else words


_HOUR = Noun("uma hora", "horas", feminine=True)
_CURRENCIES = currencies("""
€ EUR | um euro | euros | um cêntimo | cêntimos
R$ BRL | um real | reais | um centavo | centavos
$ USD US$ | um dólar | dólares | um cêntimo | cêntimos
+£ GBP | uma libra | libras | um péni | pence
CHF | um franco suíço | francos suíços | um cêntimo | cêntimos
¥ JPY | um iene | ienes
""")
_BRAZILIAN_CURRENCIES = _CURRENCIES | currencies("""
€ EUR | um euro | euros | um centavo | centavos
$ USD US$ | um dólar | dólares | um centavo | centavos
""")
_UNITS = nouns("""
km | um quilómetro | quilómetros
m | um metro | metros
cm | um centímetro | centímetros
mm | um milímetro | milímetros
m^2 | um metro quadrado | metros quadrados
m^3 | um metro cúbico | metros cúbicos
km/h | um quilómetro por hora | quilómetros por hora
kg | um quilo | quilos
g | um grama | gramas
mg | um miligrama | miligramas
l L | um litro | litros
ml mL | um mililitro | mililitros
min | um minuto | minutos
s seg | um segundo | segundos
kWh | um quilowatt-hora | quilowatts-hora
GB | um gigabyte | gigabytes
MB | um megabyte | megabytes
°C ºC | um grau Celsius | graus Celsius
° | um grau | graus
% | um por cento | por cento
""")
_BRAZILIAN_UNITS = _UNITS | nouns("""
km | um quilômetro | quilômetros
km/h | um quilômetro por hora | quilômetros por hora
""")
_WORDS = dictionary("""
Sr. = senhor | Sra. = senhora | Dr. = doutor | Dra. = doutora | Prof. = professor | Profa. = professora
etc. = et cetera | p. ex. = por exemplo | tel. = telefone | Tel. = telefone | n.º = número | nº = número
N.º = número | Av. = avenida | R. = rua | pág. = página | aprox. = aproximadamente | máx. = máximo | mín. = mínimo
Exmo. = excelentíssimo
""")
_SIGNS = {
    "#": "número", "<": "menor que", ">": "maior que",
    "&": "e", "+": "mais", "=": "igual a", "@": "arroba", "%": "por cento", "€": "euros", "$": "dólares",
    "£": "libras", "/": "barra", "°": "graus", "×": "vezes", "÷": "a dividir por", "→": "para", "§": "parágrafo",
}  # fmt: skip
_ADDRESS = {".": "ponto", "-": "hífen", "_": "sublinhado", "/": "barra", "@": "arroba", "+": "mais", ":": "dois pontos"}
_DAYS = dictionary(
    "seg = segunda | ter = terça | qua = quarta | qui = quinta | sex = sexta | sáb = sábado | dom = domingo"
)

PORTUGUESE = Language(
    cardinal=_european,
    year=_european,
    count=_counter(_european),
    digits=("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"),
    point="vírgula",
    minus="menos",
    plus="mais",
    per="por",
    to="a",
    times="vezes",
    months=tuple(_MONTHS.split()),
    short_months=_SHORT_MONTHS,
    date=_dater(_european),
    clock=_clock_sayer(_european, _counter(_european)),
    currencies=_CURRENCIES,
    and_cents="e",
    units=_UNITS,
    words=_WORDS,
    signs=_SIGNS,
    address_signs=_ADDRESS,
    code_words=frozenset(
        "código códigos pin senha palavra-passe número números conta pedido referência reserva encomenda id iban postal"
        " protocolo dígitos cep nif cpf".split()
    ),
    phone_words=frozenset(
        "telefone tel ligue ligar liga marque marcar disque telemóvel celular fax número contacte contato".split()
    ),
    link_words=frozenset(
        "é são o a os as do da de seu sua nosso para em por e depois ou grátis favor cliente confirmação"
        " verificação acesso segurança nos".split()
    ),
    key_words=frozenset("prima pressione carregue tecla digite aperte".split()),
    number_words=frozenset("número números".split()),
    copulas=frozenset("é o a".split()),
    plural=r"(?!(?:depois|antes|mais|menos|apenas|podemos|estamos|temos|através|nossos|após)$)[a-zà-ÿ]{3,}s",
    keys={"#": "cardinal", "*": "asterisco"},
    day=r"(\d{1,2})(?:\.?º)?",
    of=r"\s+(?:de\s+)?",
    time_unit="h|hs|horas?",
    before_time="às|as|das",
    hour_mark="h",
    before_short_date="dia|em|no|até|segunda|terça|quarta|quinta|sexta|sábado|domingo",
    ordinal=r"(\d{1,3})(?:\.?[ºª]|°(?=\s(?:andar|dia|mês|ano|lugar|semestre|trimestre|bloco)\b))(?!\w)",
    say_ordinal=_ordinal,
    before_noun=_feminine(_counter(_european)),
    fractions=fraction_speller(
        _european,
        names={2: "meio", 3: "terço", 4: "quarto"},
        name=lambda below: _ordinal(below, "", ""),
        many=lambda part: f"{part}s",
        one="um",
        of="de",
        largest=10,
    ),
    days=_DAYS,
    halves=("meio ", "meia "),
    scales=dictionary("""
        k = mil | K = mil | mil = mil | M = milhões de | milhão = milhão de | milhões = milhões de
    """),
    rates=dictionary("h = hora | pess = pessoa"),
)
BRAZILIAN = replace(
    PORTUGUESE,
    cardinal=_brazilian,
    year=_brazilian,
    count=_counter(_brazilian),
    before_noun=_feminine(_counter(_brazilian)),
    date=_dater(_brazilian),
    clock=_clock_sayer(_brazilian, _counter(_brazilian)),
    currencies=_BRAZILIAN_CURRENCIES,
    units=_BRAZILIAN_UNITS,
    keys={"#": "jogo da velha", "*": "asterisco"},
)
