"""What callers say over the agent in each language, line by line, and calls in German and Spanish."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns.labels import AgentSpeech, Label, asks_at_the_end, label_words
from media.turns.lexicon import lexicon_of, words_of
from media.turns.options import ConversationOptions
from tests.media.turns.phone import Engines, Phone
from tests.rows import each_row

LINES = {
    "de": """
    murmur          mhm; Hm.; hmmmm; ähm
    murmur          ach so; aha; ach, wirklich?
    murmur          ich verstehe; na ja; oh je
    agreement       ja; jaja; jaaa; ja, genau
    agreement       okay; alles klar; in Ordnung
    agreement       das stimmt; richtig; stimmt genau
    agreement       kein Problem; das passt mir; passt schon
    agreement       ja, gerne; sehr gern; ja bitte
    agreement       das klingt gut; einverstanden; auf jeden Fall
    agreement       ich bleibe dran; lassen Sie sich Zeit
    agreement       Moment, nein, sprechen Sie weiter; machen Sie weiter; nur zu
    thanks          danke; danke schön; Dankeschön; vielen Dank
    thanks          das ist sehr nett von Ihnen; ja danke
    thanks          vielen Dank für Ihre Hilfe; danke, dass Sie gewartet haben
    farewell        tschüss; Tschüß!; auf Wiederhören; ciao
    farewell        schönen Tag noch; danke, tschüss; okay, vielen Dank, auf Wiederhören
    farewell        bis morgen; bis Dienstag um zehn; wir sehen uns am Freitag
    farewell        auf Wiederhören, Frau Keller; gute Nacht; ich muss jetzt auflegen
    presence check  hallo?; hallo, hallo; guten Tag
    presence check  sind Sie noch da?; hören Sie mich?; ist da jemand
    presence check  Grüß Gott; moin; okay hallo
    refusal         nein danke; danke, nein; nicht nötig
    refusal         heute nicht; vielleicht später; lieber nicht
    objection       nein; nee; nein nein; ja nein
    objection       stopp; Stop!; halt; hören Sie auf; okay stopp
    objection       was?; wie bitte?; hä?; noch einmal bitte
    objection       das stimmt nicht; das ist falsch; nein, das ist falsch
    objection       ich verstehe Sie nicht; lauter bitte; nicht so schnell
    objection       lassen Sie mich ausreden; hören Sie zu; Ruhe
    objection       Hilfe; Mitarbeiter; einen Menschen bitte; kein Interesse
    objection       das geht nicht; auf keinen Fall; ich glaube nicht
    hold request    Moment; einen Moment bitte; Augenblick; eine Sekunde
    hold request    warten Sie; warte mal; bleiben Sie dran
    hold request    ich hole kurz meine Karte; ich muss kurz nachsehen; Moment, ich schau mal im Kalender
    hold request    lassen Sie mich überlegen; ich bin gleich wieder da
    correction      ich meinte Dienstag; nein, ich meinte Dienstag; nicht Montag, sondern Dienstag
    correction      eigentlich Mittwoch; ich sagte vier; Entschuldigung, ich meinte vier
    question        wann haben Sie geöffnet; was kostet das Zimmer; ja, aber was kostet das?
    question        haben Sie noch Plätze; gibt es einen Parkplatz; kann ich da parken
    question        tschüss, aber wann öffnen Sie?; ist das sicher
    takes turn      Dienstag; am Dienstag um zehn; ja aber nicht am Sonntag; morgen
    takes turn      zwei Erwachsene; ich habe eine Frage; das war's; Ihnen auch; und auch für Freitag
    takes turn      ja ja genau okay gut richtig; warten Sie, ich habe eine Frage; tschüss, aber noch eine Frage bitte
    """,
    "fr": """
    murmur          mm-hm; hum; euh; ah
    murmur          ah bon; je vois; oh là là
    murmur          vraiment ?; c'est vrai ?; ah, dis donc
    agreement       oui; ouais; oui, oui; Oui.
    agreement       d'accord; D’accord.; ok; ça marche
    agreement       c'est ça; c'est bon; tout à fait; voilà
    agreement       bien sûr; exactement; parfait; très bien
    agreement       pas de problème; pas de souci; ça me va; volontiers
    agreement       oui, s'il vous plaît; s'il vous plait; je comprends
    agreement       je reste en ligne; prenez votre temps; je vous écoute
    agreement       allez-y; continuez; attendez, non, allez-y; non non, continuez
    thanks          merci; merci beaucoup; Merci bien.; oui merci
    thanks          c'est très gentil; je vous remercie; c'est gentil de votre part
    thanks          merci pour votre aide; merci d'avoir patienté; merci pour l'information
    farewell        au revoir; Au revoir, madame.; bonne journée
    farewell        merci, au revoir; d'accord, merci beaucoup, au revoir; à bientôt
    farewell        à demain; à mardi; à mardi à dix heures; bonne soirée
    farewell        je dois y aller, au revoir; au revoir Madame Martin; je vous rappelle
    presence check  allô ?; Allo; bonjour; oui bonjour
    presence check  vous êtes là ?; vous m'entendez ?; il y a quelqu'un
    presence check  vous êtes toujours là; est-ce que vous m'entendez; d'accord, allô
    refusal         non merci; non, ça ira; sans façon
    refusal         pas pour le moment; une autre fois; pas vraiment
    objection       non; non, non; nan; mais non
    objection       stop; arrêtez; Arrête !; ça suffit; d'accord stop
    objection       quoi ?; comment ?; pardon; vous pouvez répéter
    objection       c'est faux; ce n'est pas vrai; c'est pas ça; non, c'est faux
    objection       je ne comprends pas; j'ai pas compris; je vous entends mal; plus fort; moins vite
    objection       écoutez-moi; excusez-moi; laissez-moi parler; taisez-vous; laissez tomber
    objection       un conseiller; une vraie personne; au secours; ça ne m'intéresse pas
    objection       pas du tout; je ne crois pas; bien sûr que non
    hold request    attendez; un instant; une seconde, s'il vous plaît; deux minutes
    hold request    ne quittez pas; patientez; je reviens; attends
    hold request    je cherche mon agenda; attendez, je prends un stylo; laissez-moi vérifier
    hold request    je vais chercher ma carte; je regarde si mardi est libre
    correction      je voulais dire mardi; non, je voulais dire mardi; j'ai dit quatre
    correction      en fait mardi; pas lundi, mardi; ou plutôt mercredi
    question        vous ouvrez à quelle heure; combien ça coûte; c'est combien la nuit
    question        est-ce que vous avez un parking; qu'est-ce que c'est; à quelle heure fermez-vous
    question        oui mais c'est quand ?; où êtes-vous exactement; au revoir, mais c'est où ?
    takes turn      mardi; mardi à dix heures; oui mais dimanche; demain
    takes turn      deux adultes; j'ai une question; c'est tout; vous aussi; et aussi pour vendredi
    takes turn      oui oui d'accord bien parfait voilà; attendez, j'ai une question; au revoir mais encore une question
    """,
    "es": """
    murmur          mm-hm; mmm; eh; ah, ya
    murmur          ya veo; bueno; ¿en serio?; qué bien
    murmur          lo sé; a ver; pues bueno
    agreement       sí; si; sí, sí; Sí.
    agreement       vale; de acuerdo; okey; dale
    agreement       claro; claro que sí; por supuesto; cómo no
    agreement       está bien; esta bien; muy bien; me parece bien
    agreement       así es; eso es; correcto; exacto
    agreement       no hay problema; no pasa nada; sin problema; no se preocupe
    agreement       sí, por favor; con mucho gusto; entendido; perfecto
    agreement       aquí sigo; puedo esperar; tómese su tiempo
    agreement       siga; continúe, por favor; espere, no, siga; adelante; dígame
    thanks          gracias; muchas gracias; Muchísimas gracias.; sí, gracias
    thanks          muy amable; se lo agradezco; es usted muy amable
    thanks          gracias por su ayuda; muchas gracias por todo; gracias por la información
    farewell        adiós; adios; chao; hasta luego; chau, chau
    farewell        que tenga buen día; gracias, adiós; vale, muchas gracias, hasta luego
    farewell        hasta mañana; hasta el martes; hasta el martes a las diez; nos vemos
    farewell        adiós, señora García; tengo que colgar; que le vaya bien; cuídese
    presence check  hola; ¿hola?; aló; buenos días
    presence check  ¿está ahí?; ¿sigue ahí?; ¿hay alguien?; hay alguien ahí
    presence check  ¿me escucha?; me oye; vale, hola
    refusal         no, gracias; no gracias; gracias, pero no
    refusal         no hace falta; otro día; por ahora no; la verdad no
    objection       no; no, no; que no; claro que no; sí no
    objection       pare; para; stop; ¡Basta!; alto; vale, pare
    objection       ¿qué?; ¿cómo?; ¿mande?; ¿perdón?; otra vez, por favor
    objection       no es cierto; eso no; está mal; no, eso no es
    objection       no entiendo; no le oigo; más despacio; más alto; hable más alto
    objection       escúcheme; oiga; déjeme hablar; cállese; disculpe; olvídelo
    objection       un operador; una persona real; ayuda; es una emergencia; no me interesa
    objection       creo que no; no quiero; de ninguna manera
    hold request    espere; un momento; un momentito, por favor; un segundo; espérese
    hold request    no cuelgue; ahora vuelvo; deme un minuto; permítame
    hold request    déjeme buscar mi tarjeta; espere, voy a buscar la agenda; voy a ver si puedo
    hold request    déjeme ver; déjeme pensar; espérame tantito, voy por la tarjeta
    correction      quise decir martes; no, quería decir martes; digo martes; no el lunes, el martes
    correction      mejor el miércoles; en realidad son cuatro; me equivoqué de día
    question        a qué hora abren; cuánto cuesta la habitación; ¿cuánto es?; ¿Y el domingo?
    question        tienen estacionamiento para clientes; se puede pagar con tarjeta; hay sitio el martes
    question        sí, pero ¿cuánto cuesta?; adiós, pero ¿a qué hora abren?
    takes turn      martes; el martes a las diez; sí pero el domingo no; mañana
    takes turn      dos adultos; tengo una pregunta; eso es todo; igualmente; y también para el viernes
    takes turn      sí claro vale bien perfecto exacto; espere, tengo una pregunta; adiós pero otra cosa
    """,
    "it": """
    murmur          mm; ehm; ah; oh
    murmur          ah ecco; davvero?; allora; beh
    murmur          che bello; lo so; mamma mia
    agreement       sì; si; sì, sì; Sì.
    agreement       va bene; d'accordo; d’accordo; ok
    agreement       certo; certo che sì; certamente; volentieri
    agreement       esatto; giusto; è vero; proprio così; infatti
    agreement       non c'è problema; nessun problema; non si preoccupi; per me va bene
    agreement       sì, per favore; ho capito; capisco; perfetto; benissimo
    agreement       resto in linea; faccia con calma; sono ancora qui; posso aspettare
    agreement       continui; vada avanti; mi dica; aspetti, no, continui; prego, continui
    thanks          grazie; grazie mille; Grazie tante.; sì, grazie
    thanks          molto gentile; la ringrazio; gentilissimo; è stata molto gentile
    thanks          grazie per l'aiuto; grazie di tutto; grazie mille per la pazienza; grazie dell'informazione
    farewell        arrivederci; ciao; ciao ciao; ArrivederLa.
    farewell        buona giornata; grazie, arrivederci; va bene, grazie mille, arrivederci; buona serata
    farewell        a domani; a martedì; a martedi alle dieci; ci sentiamo; ci vediamo venerdì
    farewell        arrivederci, signora Rossi; devo andare, ciao; alla prossima; buon fine settimana
    presence check  pronto?; pronto, pronto; buongiorno; buonasera
    presence check  mi sente?; c'è qualcuno?; è ancora lì?; è ancora in linea
    presence check  va bene, pronto; mi senti; può sentirmi
    refusal         no, grazie; no grazie; no, va bene così; non serve
    refusal         oggi no; un altro giorno; magari più tardi; non è necessario
    objection       no; no, no; ma no; certo che no; sì no
    objection       basta; stop; si fermi; fermo; la smetta; va bene basta
    objection       cosa?; come?; come, scusi?; scusi; può ripetere
    objection       non è vero; è sbagliato; non è così; no, non quello
    objection       non ho capito; non capisco; non la sento; più forte; più piano; troppo veloce
    objection       mi ascolti; senta; mi faccia parlare; silenzio; stia zitto; lasci perdere
    objection       un operatore; una persona vera; aiuto; non mi interessa; un'emergenza
    objection       credo di no; assolutamente no; non voglio; non sono d'accordo
    hold request    aspetti; un attimo; un momento, per favore; un secondo; aspetta
    hold request    resti in linea; non riattacchi; torno subito; mi dia un minuto
    hold request    mi faccia prendere la carta; un attimo, prendo carta e penna; devo cercare il numero
    hold request    mi faccia vedere; mi lasci pensare; vado a prendere l'agenda
    correction      volevo dire martedì; no, volevo dire martedì; anzi mercoledì; ho detto quattro
    correction      non lunedì, martedì; in realtà siamo in quattro; mi sono sbagliato di giorno
    question        a che ora aprite; quanto costa la camera; dov'è il parcheggio esattamente
    question        avete posto per martedì; c'è un parcheggio; si può pagare con carta; e la domenica?
    question        sì ma quanto costa?; arrivederci, ma a che ora aprite?
    takes turn      martedì; martedì alle dieci; sì ma domenica no; domani
    takes turn      due adulti; ho una domanda; è tutto; altrettanto; anche per venerdì
    takes turn      sì certo va bene ok perfetto esatto; aspetti, ho una domanda; arrivederci ma un'altra cosa
    """,
    "pt": """
    murmur          hum; hmm; ah; ah tá
    murmur          ah sim; é mesmo?; nossa; pois
    murmur          que bom; a sério?; estou a ver; caramba
    agreement       sim; Sim.; sim, sim; sim senhor
    agreement       uhum tá; tá; tá bom; tá bem; está bem
    agreement       claro; com certeza; claro que sim; pois é
    agreement       isso; isso mesmo; é isso; exato; exatamente; exacto
    agreement       tudo bem; pode ser; combinado; perfeito; ótimo; beleza
    agreement       sem problema; não tem problema; não faz mal; não se preocupe
    agreement       sim, por favor; sim, se faz favor; entendi; percebi; percebido
    agreement       eu espero; aguardo na linha; estou aqui; sem pressa; estou a ouvir
    agreement       pode continuar; continue; espera, não, continua; pode falar; diga
    thanks          obrigado; obrigada; muito obrigado; Muito obrigada.; valeu
    thanks          muito gentil; agradeço; é muito simpático; sim, obrigada
    thanks          obrigado pela ajuda; obrigada por tudo; muito obrigado pela atenção
    farewell        tchau; adeus; tchau, tchau; até logo
    farewell        obrigado, tchau; tá bom, muito obrigada, até logo; tenha um bom dia; bom fim de semana
    farewell        até amanhã; até terça; até terça às dez; até já; a gente se fala
    farewell        adeus, dona Maria; preciso desligar; com certeza, um abraço; fique com Deus
    presence check  alô?; alô, alô; oi; olá; bom dia
    presence check  está me ouvindo?; está a ouvir-me?; tem alguém aí?; você está aí?; está lá?
    presence check  ainda está aí?; consegue me ouvir; tá bom, alô
    refusal         não, obrigado; não obrigada; não precisa; não é preciso
    refusal         hoje não; por enquanto não; outro dia; nem por isso
    objection       não; não, não; claro que não; de jeito nenhum; sim não
    objection       para; pare; chega; stop; basta; tá bom, pare
    objection       o quê?; como?; como assim?; desculpe?; pode repetir
    objection       está errado; não é isso; não é verdade; isso não
    objection       não entendi; não percebi; não estou ouvindo; mais alto; mais devagar
    objection       escuta aqui; oiça; deixa eu falar; deixe-me falar; cala a boca; com licença; esquece
    objection       um atendente; uma pessoa de verdade; socorro; é uma emergência; não me interessa
    objection       acho que não; não quero; agora não
    hold request    espera; só um momento; um minutinho; espera aí; peraí; um momento, se faz favor
    hold request    não desligue; já volto; aguarde um momento; só um bocadinho
    hold request    deixa eu pegar meu cartão; vou buscar a agenda; espera, deixa eu procurar a caneta
    hold request    deixa eu ver; deixe-me ver; vou só ver a agenda
    correction      quis dizer terça; não, eu queria dizer terça; na verdade terça; eu disse quatro
    correction      não a segunda, a terça; aliás, quarta; me enganei no dia
    question        que horas vocês abrem; quanto custa o quarto; onde fica o hotel
    question        vocês têm estacionamento; é possível pagar com cartão; tem como mudar o horário; e no domingo?
    question        sim, mas quanto custa?; tchau, mas que horas vocês abrem?
    takes turn      terça; terça às dez; sim mas domingo não; amanhã
    takes turn      dois adultos; tenho uma pergunta; é só isso; igualmente; e também para sexta
    takes turn      sim claro tá bom certo perfeito isso; espera, tenho uma pergunta; tchau mas outra coisa
    """,
    "nl": """
    murmur          mhm; hmm; uhm; oh
    murmur          aha; echt waar?; nou ja; ach ja
    murmur          wat leuk; oh jee; dat weet ik
    agreement       ja; jaja; Ja.; ja hoor; jaaa
    agreement       oké; okay; is goed; dat is goed; prima
    agreement       klopt; dat klopt; precies; inderdaad; juist
    agreement       natuurlijk; zeker; ja graag; heel graag
    agreement       geen probleem; geeft niet; dat maakt niet uit; mij best
    agreement       ik begrijp het; begrepen; duidelijk; akkoord; afgesproken
    agreement       dat klinkt goed; lijkt me prima; ja natuurlijk; doe maar
    agreement       ik wacht wel even; ik ben er nog; neem de tijd; ik blijf aan de lijn
    agreement       gaat u verder; ga door; wacht, nee, ga verder; zegt u het maar
    thanks          dank u wel; dankjewel; bedankt; Hartelijk bedankt.; ja dank u
    thanks          heel vriendelijk van u; dat is heel aardig; u heeft me goed geholpen
    thanks          bedankt voor uw hulp; dank u wel voor de moeite; hartelijk dank voor alles
    farewell        dag; doei; tot ziens; dag hoor
    farewell        fijne dag nog; bedankt, dag; oké, dank u wel, tot ziens; prettig weekend
    farewell        tot morgen; tot dinsdag; tot dinsdag om tien uur; tot straks
    farewell        dag mevrouw Jansen; ik moet ophangen; dank u wel, fijne avond; ik bel terug
    presence check  hallo?; hallo, hallo; goedemorgen; hoi; goedemiddag
    presence check  bent u er nog?; hoort u mij?; is daar iemand?; bent u daar
    presence check  kunt u mij horen; ben je er nog; oké hallo
    refusal         nee, dank u; nee dank je wel; nee bedankt; hoeft niet
    refusal         vandaag niet; een andere keer; liever niet; dat is niet nodig
    objection       nee; nee, nee; neeee; natuurlijk niet; ja nee
    objection       stop; Stop!; hou op; genoeg; oké stop; stop maar
    objection       wat?; wat zegt u?; pardon?; hoe bedoelt u; nog een keer
    objection       dat klopt niet; dat is niet waar; fout; nee, dat is fout
    objection       ik begrijp het niet; ik versta u niet; ik hoor niets; harder; langzamer; te snel
    objection       luister; laat me uitpraten; stil; wees stil; excuseer; laat maar
    objection       een medewerker; een echt mens; help; geen interesse; noodgeval
    objection       ik denk het niet; in geen geval; dat wil ik niet; dat kan niet
    hold request    wacht; wacht even; momentje; een ogenblik; een moment alstublieft; effe wachten
    hold request    blijft u aan de lijn; niet ophangen; ik ben zo terug; heel even
    hold request    ik pak even mijn agenda; wacht, ik haal even een pen; ik zoek even het nummer
    hold request    even kijken; laat me even kijken; ik moet even mijn man vragen
    correction      ik bedoel dinsdag; nee, ik bedoelde dinsdag; eigenlijk dinsdag; ik zei vier
    correction      niet maandag, dinsdag; of eigenlijk woensdag; doe toch maar zes
    question        hoe laat gaat u open; wat kost een kamer; waar kan ik parkeren
    question        is er een parkeerplaats; kan ik met pin betalen; zijn jullie zondag open; en zondag?
    question        ja, maar wat kost dat?; dag, maar hoe laat gaat u open?
    takes turn      dinsdag; dinsdag om tien uur; ja maar niet op zondag; morgen
    takes turn      twee volwassenen; ik heb een vraag; dat was het; van hetzelfde; voor vrijdag ook
    takes turn      ja goed prima oké precies zeker; wacht, ik heb een vraag; dag, maar nog een vraag
    """,
}
"""The lines of each language: a label, and texts that have it."""


def lines() -> list[tuple[str, str, Label]]:
    """Return the language, text and label of each text of ``LINES``."""
    found = []
    for language, block in LINES.items():
        for line in block.strip().splitlines():
            name, _, texts = line.strip().partition("  ")
            found += [(language, text.strip(), Label[name.upper().replace(" ", "_")]) for text in texts.split(";")]
    return found


@each_row(("language", "text", "label"), lines())
def test_the_words_alone(language, text, label):
    assert label_words(text, lexicon_of(language)) is label


IN_CONTEXT = [
    # language; what the agent has said, and whether it asks or takes leave; the caller's words; their label
    ("de", "Passt Ihnen acht Uhr?", "ja", Label.ANSWER),
    ("de", "Passt Ihnen acht Uhr?", "mhm", Label.ANSWER),
    ("de", "Passt Ihnen acht Uhr?", "passt", Label.ANSWER),
    ("de", "Passt Ihnen acht Uhr?", "nein", Label.OBJECTION),
    ("de", "Auf Wiederhören.", "danke, gleichfalls", Label.FAREWELL),
    ("de", "Auf Wiederhören.", "Ihnen auch", Label.FAREWELL),
    ("de", "Auf Wiederhören.", "Moment", Label.HOLD_REQUEST),
    ("de", "Ihr Tisch für vier Personen ist reserviert", "tisch fur vier personen ist", Label.ECHO),
    ("fr", "Je réserve la table ?", "oui", Label.ANSWER),
    ("fr", "Je réserve la table ?", "d'accord", Label.ANSWER),
    ("fr", "Au revoir.", "vous aussi", Label.FAREWELL),
    ("fr", "La table est réservée pour huit heures", "la table est reservee", Label.ECHO),
    ("es", "¿Le reservo la mesa?", "sí", Label.ANSWER),
    ("es", "¿Le reservo la mesa?", "claro", Label.ANSWER),
    ("es", "Adiós.", "igualmente", Label.FAREWELL),
    ("es", "Abrimos a las nueve", "sí", Label.AGREEMENT),
    ("it", "Le prenoto il tavolo?", "va bene", Label.ANSWER),
    ("it", "Arrivederci.", "anche a lei", Label.FAREWELL),
    ("pt", "Posso marcar a mesa?", "pode", Label.ANSWER),
    ("pt", "Posso marcar a mesa?", "é", Label.ANSWER),
    ("pt", "Adeus.", "igualmente, obrigada", Label.FAREWELL),
    ("nl", "Zal ik de tafel reserveren?", "ja graag", Label.ANSWER),
    ("nl", "Tot ziens.", "van hetzelfde", Label.FAREWELL),
]
GOODBYES = ("Auf Wiederhören.", "Au revoir.", "Adiós.", "Arrivederci.", "Adeus.", "Tot ziens.")


@each_row(("language", "heard", "text", "label"), IN_CONTEXT)
def test_the_words_after_what_the_agent_has_said(language, heard, text, label):
    agent = AgentSpeech(heard, asked=asks_at_the_end(heard), leaving=heard in GOODBYES)
    assert label_words(text, lexicon_of(language), agent) is label


def test_accents_and_the_kind_of_apostrophe_do_not_count():
    assert words_of("Sí, D’ACCORD, tschüß, não, J´ai") == ("si", "d'accord", "tschuss", "nao", "j'ai")


@pytest.mark.parametrize("heard", ["¿Le va bien?", "您想预订吗？", "هل تريد الحجز؟"])
def test_a_question_is_known_by_its_mark_in_other_scripts(heard):
    assert asks_at_the_end(heard)


CALLS = {
    "de": {
        "question": "Wann haben Sie geöffnet?",
        "reply": "Wir öffnen jeden Tag um neun Uhr morgens. Sonntags öffnen wir um zehn. Kann ich noch etwas tun?",
        "transfer": "Das weiß die Buchhaltung. Einen Moment bitte, ich verbinde Sie jetzt mit der Buchhaltung.",
        "agreement": "ja",
        "objections": ("nein", "stopp"),
        "polite": ("danke schön", "alles klar", "vielen Dank für Ihre Hilfe"),
    },
    "es": {
        "question": "¿A qué hora abren?",
        "reply": "Abrimos todos los días a las nueve de la mañana. Los domingos abrimos a las diez. ¿Algo más?",
        "transfer": "Eso lo sabe contabilidad. Un momento, por favor, le paso ahora con contabilidad.",
        "agreement": "sí",
        "objections": ("no", "pare"),
        "polite": ("gracias", "muy bien", "muchas gracias por su ayuda"),
    },
}
"""The words of the calls below, which are in German and Spanish."""


def call_over_the_reply(language: str, said: str, *, length: float) -> Phone:
    """Make a call in which the caller says something for so long while the agent replies."""
    words = CALLS[language]
    phone = Phone(ConversationOptions(language=language), Engines(replies=[words["reply"], words["reply"]]))
    phone.caller_says(words["question"], start=0.5, end=1.5)
    phone.caller_says(said, start=3.0, end=3.0 + length)
    return phone.wait_until(12.0)


@pytest.mark.parametrize("length", [0.25, 0.5])
@pytest.mark.parametrize("language", CALLS)
def test_an_agreement_over_the_reply_takes_no_turn(language, length):
    phone = call_over_the_reply(language, CALLS[language]["agreement"], length=length)
    assert phone.transcript == [("caller", CALLS[language]["question"]), ("agent", CALLS[language]["reply"])]
    assert phone.really_heard(phone.revisions[0]) == CALLS[language]["reply"]


@pytest.mark.parametrize(
    ("language", "said"), [(language, said) for language in CALLS for said in CALLS[language]["objections"]]
)
def test_an_objection_over_the_reply_stops_it(language, said):
    phone = call_over_the_reply(language, said, length=0.4)
    assert phone.really_heard(phone.revisions[0]) != CALLS[language]["reply"]
    assert ("caller", said) in phone.transcript


@pytest.mark.parametrize(
    ("language", "said"), [(language, said) for language in CALLS for said in CALLS[language]["polite"]]
)
def test_a_polite_answer_does_not_cancel_a_transfer(language, said):
    words = CALLS[language]
    options = ConversationOptions(language=language, transfer_targets=("accounts",))
    phone = Phone(options, Engines(replies=[words["transfer"]], requests={0: {"transfer": "accounts"}}))
    phone.caller_says(words["question"], start=0.5, end=1.5)
    phone.caller_says(said, start=4.0, end=4.6)
    phone.wait_until(15.0)
    assert [command.target for command in phone.sent(cmd.Transfer)] == ["accounts"]
    assert phone.really_heard(phone.revisions[0]) == words["transfer"]
