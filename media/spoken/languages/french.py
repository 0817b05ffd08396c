"""French."""

from __future__ import annotations

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

_MONTHS = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
_SHORT_MONTHS = "janv févr mars avr mai juin juil août sept oct nov déc"
_cardinal = speller("fr")


def _count(value: int, noun: Noun) -> str:
    if value == 1:
        return noun.one
    words = _cardinal(value)
    if noun.feminine and words.endswith("un"):
        words += "e"
    joint = " d'" if words.endswith(("million", "millions", "milliard", "milliards")) else " "
    return f"{words}{joint}{noun.many if value else noun.one.split(' ', 1)[1]}"


_FEMININE = frozenset(
    "place chambre personne heure minute seconde semaine table page question fois voiture nuit ligne étape commande"
    " boîte bouteille carte lettre pièce ville rue femme fille tasse part salle clé adresse chaise tranche couverture"
    " dent douche porte agence étoile tonne marche classe école équipe facture visite offre langue valise messe pause"
    " amende banque caisse chaîne copie couche dame dose feuille fiche formule gare journée année livraison note"
    " messagerie nouvelle piste plage plainte plante prise promesse recette remise réponse route série somme tâche taxe"
    " tente touche vente victime voie annonce assurance chose demande chanson famille".split()
)
_FEMININE_ENDS = (
    "tion",
    "sion",
    "aison",
    "té",
    "ette",
    "ance",
    "ence",
    "ure",
    "ée",
    "ie",
    "ade",
    "ude",
    "elle",
    "esse",
    "ise",
    "ière",
)
_MASCULINE = frozenset(
    "côté été comité traité musée lycée trophée parapluie incendie génie silence stade grade chapitre murmure abonné"
    " invité employé salarié député député marché congé degré café canapé pavé thé".split()
)


def _is_feminine(noun: str) -> bool:
    one = noun.removesuffix("s")
    return one in _FEMININE or (one.endswith(_FEMININE_ENDS) and one not in _MASCULINE)


def _before_noun(value: int, noun: str) -> str | None:
    """Gives "vingt et une" in front of "places", a feminine noun."""
    if value % 10 != 1 or value % 100 in (11, 71, 91) or not _is_feminine(noun):
        return None
    return f"{_cardinal(value)}e"


def _date(date: DateWords) -> str:
    return " ".join(filter(None, ["premier" if date.day == 1 else _cardinal(date.day), date.month, date.year]))


def _clock(hour: int, minute: int, unit: str) -> str:
    words = _count(hour, _HOUR)
    return f"{words} {_cardinal(minute)}" if minute else words


def _ordinal(value: int, written: str, _before: str) -> str:
    words = str(num2words(value, lang="fr", to="ordinal"))
    return "première" if value == 1 and written.endswith("re") else words


_HOUR = Noun("une heure", "heures", feminine=True)
_CURRENCIES = currencies("""
€ EUR | un euro | euros | un centime | centimes
$ USD US$ | un dollar | dollars | un cent | cents
+£ GBP | une livre | livres | un penny | pence
CHF | un franc suisse | francs suisses | un centime | centimes
¥ JPY | un yen | yens
CA$ CAD | un dollar canadien | dollars canadiens | un cent | cents
""")
_UNITS = nouns("""
km | un kilomètre | kilomètres
m | un mètre | mètres
cm | un centimètre | centimètres
mm | un millimètre | millimètres
m^2 | un mètre carré | mètres carrés
m^3 | un mètre cube | mètres cubes
km/h | un kilomètre à l'heure | kilomètres à l'heure
kg | un kilogramme | kilogrammes
g | un gramme | grammes
mg | un milligramme | milligrammes
l L | un litre | litres
ml mL | un millilitre | millilitres
+min mn | une minute | minutes
+s sec | une seconde | secondes
kWh | un kilowattheure | kilowattheures
Go | un gigaoctet | gigaoctets
Mo | un mégaoctet | mégaoctets
°C | un degré Celsius | degrés Celsius
°F | un degré Fahrenheit | degrés Fahrenheit
° | un degré | degrés
% | un pour cent | pour cent
""")
_WORDS = dictionary("""
M. = Monsieur | Mme = Madame | Mmes = Mesdames | Mlle = Mademoiselle | MM. = Messieurs | Dr = Docteur
Dr. = Docteur | Pr = Professeur | Me = Maître | etc. = et cetera | p. ex. = par exemple | c.-à-d. = c'est-à-dire
env. = environ | n° = numéro | N° = numéro | No. = numéro | nº = numéro | tél. = téléphone | Tél. = téléphone
av. = avenue | bd = boulevard | St = Saint | Ste = Sainte | max. = maximum | min. = minimum | p. = page
rdv = rendez-vous | incl. = inclus | excl. = exclu | bât. = bâtiment | pers. = personnes
RDV = rendez-vous
""")
_SIGNS = {
    "#": "numéro", "<": "inférieur à", ">": "supérieur à",
    "&": "et", "+": "plus", "=": "égale", "@": "arobase", "%": "pour cent", "€": "euros", "$": "dollars",
    "£": "livres", "/": "barre oblique", "°": "degrés", "×": "fois", "÷": "divisé par", "→": "à", "§": "paragraphe",
}  # fmt: skip
_ADDRESS = {
    ".": "point",
    "-": "tiret",
    "_": "tiret bas",
    "/": "barre oblique",
    "@": "arobase",
    "+": "plus",
    ":": "deux-points",
}
_DAYS = dictionary(
    "lun. = lundi | mar. = mardi | mer. = mercredi | jeu. = jeudi | ven. = vendredi | sam. = samedi | dim. = dimanche"
)

FRENCH = Language(
    cardinal=_cardinal,
    year=_cardinal,
    count=_count,
    digits=("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    point="virgule",
    minus="moins",
    plus="plus",
    per="par",
    to="à",
    times="fois",
    months=tuple(_MONTHS.split()),
    short_months=_SHORT_MONTHS,
    date=_date,
    clock=_clock,
    currencies=_CURRENCIES,
    units=_UNITS,
    words=_WORDS | _DAYS,
    days={short.rstrip("."): day for short, day in _DAYS.items()},
    elided="d'",
    halves=("un demi-", "une demi-"),
    scales=dictionary("""
        k = mille | K = mille | mille = mille | M = millions de | million = million de | millions = millions de
        md = milliards de | milliard = milliard de | milliards = milliards de
    """),
    rates=dictionary("h = heure | j = jour | sem = semaine | pers = personne | an = an"),
    signs=_SIGNS,
    address_signs=_ADDRESS,
    code_words=frozenset(
        "code codes pin numéro numéros mot passe identifiant compte dossier commande référence réservation"
        " iban chiffres postal".split()
    ),
    phone_words=frozenset(
        "téléphone tél tel appelez appeler appelle appelant composez composer faites portable mobile fax numéro joindre"
        " contactez".split()
    ),
    link_words=frozenset(
        "est sont votre vos notre le la les l au à de nous moi sur et puis ou ensuite gratuitement suivant"
        " commence d client c'est confirmation sécurité vérification s'il vous plaît".split()
    ),
    key_words=frozenset("tapez appuyez touche touches pressez saisissez entrez".split()),
    number_words=frozenset("numéro numéros".split()),
    copulas=frozenset("est le la c'est".split()),
    plural=r"(?!(?:dans|mais|vous|nous|sans|alors|après|depuis|toujours|puis|plus|moins|fois|chez|avis|suis|êtes|ensuite|sous|vers)$)"
    r"[a-zà-ÿœ]{3,}[sx]",
    keys={"#": "dièse", "*": "étoile"},
    day=r"(\d{1,2})(?:er)?",
    of=r"\s+",
    time_unit="h|heures?",
    before_time="à|vers|avant|après|jusqu'à",
    hour_mark="h",
    before_short_date="le|du|au|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche",
    ordinal=r"(\d{1,3})(?:ers?|re|ères?|e|ème|ième|nde?|èmes)(?!\w)",
    say_ordinal=_ordinal,
    before_noun=_before_noun,
    spaced_thousands=True,
    fractions=fraction_speller(
        _cardinal,
        names={2: "demi", 3: "tiers", 4: "quart"},
        name=lambda below: _ordinal(below, "", ""),
        many=lambda part: part if part.endswith("s") else f"{part}s",
        one="un",
        of="sur",
        largest=12,
    ),
)
