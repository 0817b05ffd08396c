"""Spanish."""

from __future__ import annotations

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

_MONTHS = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
_SHORT_MONTHS = "ene feb mar abr may jun jul ago sept oct nov dic"
_cardinal = speller("es")


def _count(value: int, noun: Noun) -> str:
    if value == 1:
        return noun.one
    words = _cardinal(value)
    if noun.feminine:
        words = words.replace("ientos", "ientas")
        words = words.removesuffix("uno") + "una" if words.endswith("uno") else words
    elif words.endswith("uno"):
        words = words.removesuffix("uno") + ("ún" if words.endswith("veintiuno") else "un")
    joint = " de " if words.endswith(("millón", "millones")) else " "
    return f"{words}{joint}{noun.many}"


_ONE = {
    "una": "persona hora noche habitación mesa semana vez plaza entrada cita pregunta opción página cama silla llamada"
    " línea tarjeta factura cuenta botella copia caja pieza unidad".split(),
    "un": "día minuto segundo mes año euro dólar adulto niño asiento billete pasajero mensaje pedido kilómetro".split(),
}
"""Nouns behind "1". Of other words it is not certain that they are counted: "la opción 1 para ventas"."""
_MASCULINE = frozenset(
    "días mapas problemas programas idiomas sistemas temas kilogramas planetas poemas aviones camiones millones".split()
)
_FEMININE = frozenset(
    "noches tardes veces clases llaves partes calles mujeres flores luces claves fuentes paredes redes sales".split()
)


def _is_feminine(noun: str) -> bool:
    return noun in _FEMININE or (noun.endswith(("as", "dades", "iones", "tudes")) and noun not in _MASCULINE)


def _before_noun(value: int, noun: str) -> str | None:
    """Gives "doscientas" in front of "personas", a feminine noun in the plural, and "veintiún" in front of "días"."""
    if value == 1:
        return next((one for one, nouns_of_it in _ONE.items() if noun in nouns_of_it), None)
    if not noun.endswith("s") or noun in ("menos", "tras", "pues", "antes", "después", "entonces"):
        return None
    ends_in_one = value > 20 and value % 10 == 1 and value % 100 != 11
    if not ends_in_one and value % 1000 < 200 and value < 200_000:
        return None
    return _count(value, Noun("", noun, _is_feminine(noun))).removesuffix(f" {noun}")


def _date(date: DateWords) -> str:
    return " de ".join(filter(None, [_cardinal(date.day), date.month, date.year]))


def _clock(hour: int, minute: int, unit: str) -> str:
    counted = _count(hour, _HOUR)
    words, _, noun = counted.rpartition(" ")
    if minute:
        words += f" {_cardinal(minute)}" if minute > 9 else f" cero {_cardinal(minute)}"
    return f"{words} {noun}" if unit else words


_ORDINALS = "primero segundo tercero cuarto quinto sexto séptimo octavo noveno décimo undécimo duodécimo".split()


def _ordinal(value: int, written: str, _before: str) -> str:
    if not 1 <= value <= len(_ORDINALS):
        return _cardinal(value)
    words = _ORDINALS[value - 1]
    if written.endswith(("ª", "a")):
        return words[:-1] + "a"
    return words[:-1] if written.endswith("er") and value in (1, 3) else words


_HOUR = Noun("una hora", "horas", feminine=True)
_CURRENCIES = currencies("""
€ EUR | un euro | euros | un céntimo | céntimos
$ USD US$ | un dólar | dólares | un centavo | centavos
+£ GBP | una libra | libras | un penique | peniques
MXN MX$ | un peso | pesos | un centavo | centavos
CHF | un franco suizo | francos suizos | un céntimo | céntimos
¥ JPY | un yen | yenes
""")
_UNITS = nouns("""
km | un kilómetro | kilómetros
m | un metro | metros
cm | un centímetro | centímetros
mm | un milímetro | milímetros
m^2 | un metro cuadrado | metros cuadrados
m^3 | un metro cúbico | metros cúbicos
km/h | un kilómetro por hora | kilómetros por hora
kg | un kilo | kilos
g | un gramo | gramos
mg | un miligramo | miligramos
l L | un litro | litros
ml mL | un mililitro | mililitros
min | un minuto | minutos
s seg | un segundo | segundos
kWh | un kilovatio hora | kilovatios hora
GB | un gigabyte | gigabytes
MB | un megabyte | megabytes
°C ºC | un grado centígrado | grados centígrados
°F ºF | un grado Fahrenheit | grados Fahrenheit
° | un grado | grados
% | uno por ciento | por ciento
""")
_WORDS = dictionary("""
Sr. = señor | Sra. = señora | Srta. = señorita | Dr. = doctor | Dra. = doctora | D. = don | Dña. = doña
Ud. = usted | Uds. = ustedes | etc. = etcétera | p. ej. = por ejemplo | tel. = teléfono | Tel. = teléfono
tlf. = teléfono | núm. = número | n.º = número | nº = número | N.º = número | Avda. = avenida | Av. = avenida
C/ = calle | aprox. = aproximadamente | pág. = página | máx. = máximo | mín. = mínimo | EE. UU. = Estados Unidos
EE.UU. = Estados Unidos | S.A. = S.A. | lun. = lunes | mié. = miércoles | jue. = jueves | vie. = viernes
sáb. = sábado | dom. = domingo
""")
_SIGNS = {
    "#": "número", "<": "menor que", ">": "mayor que",
    "&": "y", "+": "más", "=": "igual a", "@": "arroba", "%": "por ciento", "€": "euros", "$": "dólares",
    "£": "libras", "/": "barra", "°": "grados", "×": "por", "÷": "entre", "→": "a", "§": "sección",
}  # fmt: skip
_ADDRESS = {".": "punto", "-": "guion", "_": "guion bajo", "/": "barra", "@": "arroba", "+": "más", ":": "dos puntos"}

SPANISH = Language(
    cardinal=_cardinal,
    year=_cardinal,
    count=_count,
    digits=("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
    point="coma",
    minus="menos",
    plus="más",
    per="por",
    to="a",
    times="veces",
    months=tuple(_MONTHS.split()),
    short_months=_SHORT_MONTHS,
    date=_date,
    clock=_clock,
    currencies=_CURRENCIES,
    and_cents="con",
    units=_UNITS,
    words=_WORDS,
    signs=_SIGNS,
    address_signs=_ADDRESS,
    code_words=frozenset(
        "código códigos pin clave contraseña número números cuenta pedido referencia reserva identificador"
        " id iban postal dígitos cifras".split()
    ),
    phone_words=frozenset(
        "teléfono tel tlf llame llama llamar llámenos llámeme marque marca marcar móvil celular fax número"
        " contacte".split()
    ),
    link_words=frozenset(
        "es son su sus tu nuestro el la los las al a de nos en por y luego después o gratis favor cliente confirmación"
        " verificación acceso seguridad pedido".split()
    ),
    key_words=frozenset("pulse pulsa presione oprima marque tecla teclee introduzca".split()),
    number_words=frozenset("número números".split()),
    copulas=frozenset("es el la".split()),
    days=dictionary(
        "lun = lunes | mar = martes | mié = miércoles | jue = jueves | vie = viernes | sáb = sábado | dom = domingo"
    ),
    halves=("medio ", "media "),
    scales=dictionary("""
        k = mil | K = mil | mil = mil | M = millones de | millón = millón de | millones = millones de
    """),
    rates=dictionary("h = hora | pers = persona | noct = noche"),
    plural=r"(?!(?:después|pues|antes|entonces|tras|menos|podemos|estamos|tenemos|además|mientras|nuestros|vuestros)$)"
    r"[a-zà-ÿ]{3,}s",
    keys={"#": "almohadilla", "*": "asterisco"},
    day=r"(\d{1,2})(?:\.?º)?",
    of=r"\s+(?:de\s+|del\s+)?",
    time_unit="h|hs|hrs|horas?",
    before_time="las|la",
    before_short_date="el|del|al|lunes|martes|miércoles|jueves|viernes|sábado|domingo",
    ordinal=r"(\d{1,3})(?:\.?[ºª]|°(?=\s(?:piso|planta|puerta|día|mes|año|turno|lugar)\b)|\.?er|\.o|\.a)(?!\w|C|F)",
    say_ordinal=_ordinal,
    before_noun=_before_noun,
    fractions=fraction_speller(
        _cardinal,
        names={2: "medio", 3: "tercio", 4: "cuarto", 8: "octavo", 10: "décimo"},
        name=lambda below: _ORDINALS[below - 1],
        many=lambda part: f"{part}s",
        one="un",
        of="de",
        largest=10,
    ),
)
