"""
Reduces what a caller says to the few ideas that a demand not to be called is made of.

``reduce_words`` writes each idea as one token in capitals, whatever words the caller chose for it: ``ME`` for "us",
``NUMBER`` for "our home phone", ``RING`` for "get in touch with". All other words stay as they are, in lower case and
without punctuation; "." stands where a sentence ends. ``media.turns.opt_out`` judges the result.
"""

from __future__ import annotations

import re

_CONTRACTIONS = [
    (r"[.!?;:…]+(?=\s|$)", " . "),
    (r"[^\w'.]+", " "),
    (r"\b(do|does|did|is|are|was|were|would|could|should|must|may|need|has|have|had|might) ?n ?'?t\b", r"\1 not"),
    (r"\bcan ?'?t\b|\bcannot\b", "can not"),
    (r"\bwon ?'?t\b", "will not"),
    (r"\bshan ?'?t\b", "shall not"),
    (r"\b(?:donot|dinnae|dinna|do knot|don)\b", "do not"),
    (r"\bain ?'?t\b", "is not"),
    (r"\b(it|that|what|there|here|who|he|she|where|how|when|this|one|nobody|somebody|someone)'s\b", r"\1 is"),
    (r"\b(i)'?m\b", r"\1 am"),
    (r"\b(you|they|we)'re\b|\b(you|they)re\b", r"\1\2 are"),
    (r"\b(i|you|we|they)'?ve\b", r"\1 have"),
    (r"\b(\w+)'ll\b|\b(you|they|that)ll\b|\b(i)ll(?= (?:call|ring|phone|be|have|report|sue|get|give|let|take)\b)",
     r"\1\2\3 will"),
    (r"\b(\w+)'d\b|\b(you|they)d\b|\b(i)d(?= (?:like|rather|prefer|appreciate|be|love)\b)", r"\1\2\3 would"),
    (r"\b(i|you|we|they|it) d(?= )", r"\1 would"),
    (r"\b(that|what|there|he|she)s\b", r"\1 is"),
    (r"'", ""),
]  # fmt: skip
"""Regular expressions and what replaces what they match, applied one after the other, as in the lists below."""

_WORD_BY_WORD = re.compile(
    r"(?<![\w'])(?:(?!(?:yes|yeah|no(?!\. more)|nope|maybe|okay|ok|thanks|you|sorry|bye|cheers|hello|wait"
    r"|right|sure|fine|well|busy|good|great|later|now|what|why|it)\b)"
    r"[\w']+(?: [\w']+)?[.!?…]+\s+){2,}[\w']+(?: [\w']+)?(?=[.!?…]|\s*$)"
)
"""Sentences of a word or two which belong together, as the caller says each word slowly: "Remove. My. Number."."""

_SPELLINGS = [
    (r"\b(?:yall|y all|yous|youse|u|ye)\b", "you"),
    (r"\b(?:ur|yer)\b", "your"),
    (r"\bgonna\b", "going to"),
    (r"\bwanna\b", "want to"),
    (r"\bgotta\b", "got to"),
    (r"\b(?:cos|cuz|coz)\b", "because"),
    # What recognition often makes of these words.
    (r"\ba gain\b", "again"),
    (r"\bany ?more\b", "anymore"),
    (r"\b(call|ring|phon|bother|contact|harass)in\b", r"\1ing"),
    (r"\b(?:coal|cole|caul|kohl)(?= (?:me|us|again|here|this|my)\b)", "call"),
    (r"\bcolon(?= list\b)|\bcaller(?= list\b)", "calling"),
    (r"\byou are(?= (?:(?:call|calling|phone) )?lists?\b)", "your"),
    (r"(?<=\bme )of\b|(?<=\bnumber )of\b|(?<=\bus )of\b", "off"),
    (r"\bform(?= (?:your|the|this|that|any|all)\b)", "from"),
    (r"\bre move\b", "remove"),
    (r"\bun ?subscribed?\b", "unsubscribe"),
    (r"\boff(?: of)?\b|\bout of\b", "off"),
    (r"\b(off|from) (?=(?:call |calling |phone |contact |marketing )?lists?\b)", r"\1 the "),
    # Words that change nothing.
    (r"\b(?:at|before|after|on) (?:\w+ ){1,3}or (?:at |on )?any other (?:time|day|hour)\b", "ever"),
    (r"\bthe (?:hell|heck|fuck|devil)\b|\bor (?:at )?any other (?:time|day|hour)\b|\bor ever\b", " "),
    (r"\bif (?:it is|its) all the same(?: to you)?\b|\bif (?:you (?:do not mind|please|would be so kind)|possible)\b"
     r"|\bif that is (?:ok|okay|alright|all right)(?: with you)?\b", " "),
    (r"\b(?:u[hm]+|er+m?|ah+|oh|h?m+|really|actually|basically|literally|simply|seriously|honestly|maybe|perhaps"
     r"|possibly|already|also|ever so|(?<!do )you know|i mean|sort of|kind of|kinda|immediately|right now|straight away"
     r"|fucking|fuckin|feckin|damn|goddamn|bloody|bleeding|bleedin|flipping|flaming|freaking|frigging|blasted)\b", " "),
    (r"\bstupid (?=calls?\b|phone)", ""),
    (r"(?<!would )(?<!\bi )(?<!we )(?<!not )(?<!you )(?<!id )\blike\b", " "),
    (r"\bmind (?:please )?(remov|tak|delet|eras)ing\b", r"\1e"),
    (r"\bmind (?:please )?(stop|put|add|cross|scratch)p?t?ing\b", r"\1"),
    (r"\bgo ahead and\b|\btry and\b", ""),
    (r"\b(?:please|pls|plz|just|kindly)\b", "PLS"),
    (r" +", " "),
    # A false start is said again.
    (r"\b(\w+(?: \w+){0,3})(?: \1\b)+", r"\1"),
]  # fmt: skip

_PHRASES = [
    # The list of those who are not to be called.
    (r"\b(?:(?:the|that|your|a|any|this|national|federal|state|our) )*(?:do not|never|no|non) (?:call(?:s|ing)?"
     r"|ring(?:ing)?"
     r"|phone|contact|disturb)(?: back)? (?:lists?|registr(?:y|ies)|registers?|status|data ?base|file|flag"
     r"|thing|service|numbers?)"
     r"(?: of yours)?\b", "DNC"),
    (r"\b(?:the|a|that|your|as|down as|status) (?:do not|no) (?:call|contact)\b(?! me| us)", "DNC"),
    (r"\bd ?n ?c(?: list)?\b|\b(?:the |that )?(?:telephone|phone|call) preference(?: service| list| thing)?\b|\btps\b",
     "DNC"),
    (r"\b(?:your |the |a )?(?:suppression|opt out) list\b", "DNC"),
    (r"\b(?:(?:list of|the|for) (?:the )?)(?:people|numbers|folks|ones) (?:that |who |whom )?(?:you )?(?:are"
     r" )?(?:do not|must not|should not"
     r"|can not|not to|never) (?:to )?(?:call|ring|contact|phone)\b", "DNC"),
    # Calls as a noun.
    (r"\b(?:tele)?phone contact\b", "contact"),
    (r"\b(?:tele)?phone communications?\b|\bcommunications?(?= (?:with|to) (?:me|us)\b"
     r"| (?:to|must|should|has to|have to|needs? to) (?:cease|stop|end)\b)", "calls"),
    (r"\b(?:this|the|that|my) call\b(?! (?:cent|list|log|sheet|again|anymore))", "THISCALL"),
    (r"\b(any|no|your) call\b(?! (?:cent|list|log|sheet|forward|wait|me|us|back))|\b(a) call(?= from you)",
     r"\1\2 calls"),
    (r"\b(?:robo|phone|telephone|cold|sales|spam|marketing) ?calls?\b(?! (?:list|sheet|cent))", "calls"),
    (r"\b(another|further|single|more|other) call\b", r"\1 calls"),
    (r"\bgive (?:me|us) (?:a|any|anymore|any more|another|more) (?:calls?|rings?|bells?|buzz|shout)\b", "ring me"),
    (r"\b(no|any|more|further|all|future|your|cease|stop)( more| further| future| telephone| phone)*"
     r" contact\b(?! (?:list|name|number|detail))",
     r"\1\2 calls"),
    # Who is called.
    (r"\b(?:my|our|this) numbers (?=to be\b|not to be\b)", "NUMBER is "),
    (r"\b(?:my|our|this) (?:here )?(?:(?:phone|telephone|cell|mobile|home|house|work|office|contact|own|personal"
     r"|private|direct|business|fax|land|old|new|other|poor|\w+s) ){0,2}(?:numbers?|phones?|cell(?:phone)?s?|mobiles?"
     r"|landlines?|lines?|telephones?)\b", "NUMBER"),
    (r"\bthe (?:phone |telephone )?number\b|\bthat (?:phone |mobile )?(?:number|phone|line)\b", "THENUMBER"),
    (r"\b(?:my|our) (?:full |own )?(?:names?|details|data|information|info)(?: and (?:NUMBER|number))?\b", "NAME"),
    (r"\b(?:my|our|this) (?:own |private |family )?(?:house|home|place|household|flat|apartment|residence|office|shop"
     r"|store|business|workplace|job|address)\b", "HOME"),
    (r"\b(?:my|our) (?:poor |elderly |old |late |little |whole |entire )*(?:mother|mum|mam|mom|mummy|ma|dad|father|da"
     r"|wife|husband|missus|partner|sons?|daughters?|parents|nan|nana|gran|granny|grandmother|grandad|family|kids?"
     r"|children)(?: in law)?\b", "KIN"),
    (r"\b(?:my|our) \w+s (?:house|home|place|number|phone|mobile|landline|line|flat)\b", "HOME"),
    (r"\b(?:me|us|myself)\b", "ME"),
    # Who calls: those whom the caller speaks to.
    (r"\byou (?:people|guys|lot|folks|all|fellas|lads|ones|crowd|bunch|clowns|idiots|scammers|jokers|muppets"
     r"|bastards)\b"
     r"|\b(?:any|none|all|either) of you\b", "YOU"),
    (r"\b(?:your|this|that) (?:company|organi[sz]ation|firm|people|team|colleagues?|staff|agency|lot|crowd|boss(?:es)?"
     r"|managers?|supervisors?|mates?|agents?|outfit|department|bank|business|call cent(?:re|er)s?|employers?|charity"
     r"|mob|salesm[ae]n|sales (?:people|team)|lads|guys|girls)\b(?! list)(?: of yours)?", "YOU"),
    (r"\b(?:your|this|that) (?:computers?|robots?|bots?|machines?|dial+ers?|systems?)(?= (?:to|does|do|will|has|keeps?"
     r"|stops?|not|call|ring|phone))", "YOU"),
    (r"\b(?:anyone|anybody)(?: else)?(?: (?:from|at|in) (?:YOU|there))?", "YOU"),
]  # fmt: skip

_CALLING_LIST = frozenset(
    """
    call calls calling caller callers ringing ring phoning phone telephone number numbers contact contacts marketing
    sales telemarketing dialing dialling dial dialer lead leads prospect prospects target cold auto automatic automated
    outbound robo robocall spam nuisance
    """.split()
)
"""Words that make a list one of people to be called."""
_ANY_LIST = frozenset("whole entire little big silly old internal company stupid poxy wee PLS".split())
"""Words in front of a list that do not say which list it is."""
_LIST = re.compile(
    r"\b(?P<whose>(?:(?:any|all|every|each|and|of|your|the|this|that|these|those|whatever|their) )+)"
    r"(?P<kind>(?:(?!(?:off|from|out|of|the|your|this|that|my|to|on|in|for|i|you|is|are|and|or|it|do|not|number)\b)"
    r"[a-zPLS]+ ){0,4}?)"
    r"(?P<what>lists?|dial+ers?|campaigns?|data ?bases?|systems?|records?|books?|files?|computers?|sheets?|registers?"
    r"|registry|directory|roster|rolodex|queue|spreadsheets?|rota|contacts|phonebook|crm)\b(?P<yours> of yours)?"
)
_CALLING = re.compile(r"lists?|dial+ers?|campaigns?")


def _name_list(found: re.Match[str]) -> str:
    """Say which list these words mean: one of people to be called, or another."""
    kind = set(found["kind"].split())
    whose = set(found["whose"].split())
    if "their" in whose or kind - _CALLING_LIST - _ANY_LIST:
        return "MAILLIST" if kind & {"mailing", "customer", "client"} else "OTHERLIST"
    if kind & _CALLING_LIST or found["what"].startswith("dial"):
        return "CALLLIST"
    yours = whose & {"your", "any", "all", "every", "whatever"} or found["yours"]
    if not _CALLING.fullmatch(found["what"]):
        return "YOURDATA" if yours else "THEDATA"
    return "YOURLIST" if yours else "THELIST"


_BOTHER = (
    "bother|solicit|disturb|trouble|bug|harass|pester|hassle|hound|badger|annoy|plague|buzz|mither|torment|spam|chase"
)
_NOUN = r"(?<!\bthe )(?<!\bby )(?<!\ba )(?<!\bvia )(?<!\byour )(?<!\bno )(?<!\bover )(?<!\bin )"
_VERBS = [
    (r"\b(?:calls|rings|phones|bothers|contacts)(?= (?:ME|NUMBER|HOME|here)\b)", "RING"),
    (r"\bcalls\b", "CALLS"),
    (r"\bget (?:back )?in touch(?: with)?|\breach out(?: to)?"
     r"|\bcommunicate with(?! ME in (?!future))|\bget (?:back )?on to(?= ME)", "RING"),
    (r"\bgetting (?:back )?in touch(?: with)?|\breaching out(?: to)?|\bcommunicating with(?! ME in (?!future))",
     "RINGING"),
    (r"\bbe (?:at|on to|onto) ME\b", "be BOTHERING ME"),
    (r"\bhit(?: ME)? up\b|\bhit(?= NUMBER)|\bblow up(?= NUMBER)", "BOTHER ME"),
    (r"\bhitting(?: ME)? up\b|\bhitting(?= NUMBER)|\bblowing up(?= NUMBER)|\bblowing(?= NUMBER up)", "BOTHERING"),
    (r"\b(?:cold )?calling(?: up)?\b(?! cards?\b)", "CALLING"),
    (r"\b(?:ring|phon|telephon|dial|diall|contact|robocall)ing\b(?: up)?", "RINGING"),
    (rf"\b(?:{_BOTHER}|plagu|hassl|troubl|buzz|spamm|bugg|annoy|chas)ing\b", "BOTHERING"),
    (r"\b(?:called|cold called)\b", "CALLED"),
    (r"\b(?:rung|rang|phoned|telephoned|diall?ed|contacted)\b", "RUNG"),
    (rf"\b(?:{_BOTHER}|troubl|hassl|plagu|bugg|spamm|chas)ed\b", "BOTHERED"),
    (r"\b(?:cold )?call\b(?: up)?", "CALL"),
    (rf"{_NOUN}\b(?:ring|phone|telephone|dial|contact|robocall)\b(?: up)?(?! (?:number|line|call))", "RING"),
    (rf"{_NOUN}\b(?:{_BOTHER})\b", "BOTHER"),
    (r"\bno more(?= (?:\.|and|or|i|we|you|thank|thanks|ok|okay|bye|PLS)|\s*$)", "EVER"),
    (r"\b(?:ever again|again|anymore|ever|for good|for ?ever|permanently|in (?:the )?future|going forward"
     r"|from (?:now|here|this day|today|this point)(?: on| onwards?| forward)?|off now on|after (?:this|today)|at all"
     r"|for any reason|under any circumstances|any longer|hereafter|henceforth|another time|ever and ever)\b", "EVER"),
    # A pause where no sentence can end.
    (r"\b(stop|quit|cease) \. (?=(?:CALLING|RINGING|BOTHERING)\b)|\b(off|from) \. (?=(?:YOUR|CALL|THE)LIST\b)",
     r"\1\2 "),
]  # fmt: skip


def _compile(rules: list[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), words) for pattern, words in rules]


_BEFORE_LISTS = _compile([*_CONTRACTIONS, *_SPELLINGS, *_PHRASES])
_AFTER_LISTS = _compile(_VERBS)


def reduce_words(text: str) -> str:
    """The words of ``text`` with each idea as one token, separated by single spaces, between two spaces."""
    words = _WORD_BY_WORD.sub(lambda found: re.sub(r"[.!?…]", " ", found.group()), text.lower().replace("’", "'"))
    for pattern, replacement in _BEFORE_LISTS:
        words = pattern.sub(replacement, words)
    words = _LIST.sub(_name_list, words)
    for pattern, replacement in _AFTER_LISTS:
        words = pattern.sub(replacement, words)
    return f" {' '.join(words.split())} "
