"""Ways in which models write requests and other text that is not spoken, and speech that only looks like them."""

from inference.chat.prompt import PICKS_UP
from inference.requests import ToolRequests
from inference.types import FINISHED

END = ToolRequests(end_call=True)
SALES = ToolRequests(transfer="sales")
OPT_OUT = ToolRequests(opt_out=True)

# fmt: off
REQUESTS = {
    END: [
        "[END_CALL]", "[END CALL]", "[end call]", "[END-CALL]", "[EndCall]", "[END\\_CALL]", "[ END_CALL ]",
        "[END_CALL", "[END CALL", "END_CALL]", "END_CALL", "end_call", "END\\_CALL", "(END_CALL)",
        "(END CALL)", "(end\\_call)", "<END_CALL>", "<end_call/>", "</end_call>", "<|end_call|>", "<end call>",
        "{end_call}", "{{end_call}}", "{END CALL}", "[[END_CALL]]", "**[END_CALL]**", "`[END_CALL]`",
        "*END_CALL*", "**END CALL**", "`END_CALL`", "*hangs up*", "(hangs up)", "[hangs up]", "[hang up]",
        "[Hang up the phone]", "*ends the call*", "[Call ended]", "(call ended)", "*The call is disconnected*",
        "[Ends the call.]", "[END_CALL: the caller is satisfied]", "[END_CALL reason=done]", "[END_CALL)",
        "end_call()", "functions.end_call()", "functions.end_call({})", "hangup()", "hang_up()",
        "print(default_api.end_call())", "end_call{}", "call:end_call{}", '{"name": "end_call"}',
        '{"name": "end_call", "arguments": {}}', '{"function": {"name": "endCall", "arguments": "{}"}}',
        '{"action": "hang_up", "reason": "done"}', '{"end_call": true}',
        '[{"name": "end_call", "parameters": {}}]', "{'name': 'end_call'}",
        '{"name": "end_call", "arguments": {', '```json\n{"name": "end_call"}\n```',
        '```json {"name": "end_call"} ```', "```tool_code\nprint(end_call())\n```", "```\n[END_CALL]\n```",
        '<tool_call>\n{"name": "end_call", "arguments": {}}\n</tool_call>', '<tool_call>{"name": "end_call"}',
        "<tool_call>end_call</tool_call>", "<function=end_call></function>",
        '<invoke name="end_call"></invoke>', "<function_call>end_call()</function_call>",
        '<|tool_call|>[{"name": "end_call"}]', "<|python_tag|>end_call()",
        '[TOOL_CALLS] [{"name": "end_call", "arguments": {}}]', "[TOOL_CALLS]end_call[ARGS]{}",
        "[TOOL_CALL]end_call[/TOOL_CALL]", "_hangs up_", "__ends the call__", "_END_CALL_", "[END_CALLS]",
        "*the line goes dead*", "*legt auf*", "(raccroche)", "*cuelga el teléfono*", "_riattacca_", "*desliga*",
        "*hangt op*",
    ],
    SALES: [
        "[TRANSFER sales]", "[TRANSFER: sales]", "[Transfer to sales]", "[transfer_to sales]",
        "[TRANSFER_TO_SALES]", "[TRANSFER=sales]", '[Transfer "sales"]', "[TRANSFER <sales>]",
        "[TRANSFER sales", "[TRANSFER]", "[transfer call]", "[Transferring the call to sales.]",
        "[transfers the caller to the sales team]", "*transfers the call to sales*",
        "(transferring you to sales)", "*transfers the call*", "(TRANSFER sales)", "(transfer_call)",
        "TRANSFER_TO_SALES", "transfer_call", "<TRANSFER sales>", "<transfer>sales</transfer>",
        '<transfer to="sales"/>', "{transfer: sales}", "{transfer_to sales}", "[connect to sales]",
        "*connecting you to sales*", 'functions.transfer("sales")', 'transfer(target="sales")',
        "transfer(sales)", 'transfer({"target": "sales"})', 'transfer_call(to="Sales")', "transfer_to_sales()",
        '[transfer(target="sales")]', 'call:transfer{target:"sales"}',
        '{"name": "transfer", "arguments": {"target": "sales"}}',
        '{"name": "transfer", "parameters": {"name": "sales"}}',
        '{"name": "transfer", "arguments": "{\\"target\\": \\"sales\\"}"}', '{"transfer": "sales"}',
        '{"action": "transfer_call", "department": "sales"}', "{'name': 'transfer', 'to': 'sales'}",
        '<tool_call>{"name": "transfer", "arguments": {"target": "sales"}}</tool_call>',
        '<function=transfer>{"target": "sales"}</function>', '[TOOL_CALLS]transfer[ARGS]{"target": "sales"}',
        '<invoke name="transfer"><parameter name="target">sales</parameter></invoke>',
    ],
    OPT_OUT: [
        "[DO_NOT_CALL]", "[DO NOT CALL]", "[do-not-call", "[Do not call again]", "(DO_NOT_CALL)",
        "<DO_NOT_CALL>", "{do_not_call}", "**[DO_NOT_CALL]**", "DO_NOT_CALL", "DO\\_NOT\\_CALL", "[opt out]",
        "opt_out()", "[Added to do not call list]", "functions.do_not_call()", '{"name": "opt_out"}',
        '{"do_not_call": true}',
    ],
}
"""The requests and how they are written. The first spelling of each is the one that the prompt asks for."""

WAITS = [
    "[WAIT]", "[wait]", "[WAIT", "(WAIT)", "*WAIT*", "**[WAIT]**", "`[WAIT]`", "<WAIT>", "<wait/>", "{wait}", "WAIT",
    "WAIT.", " WAIT\n", "*waits*", "(waiting)", "*listens*", "[listening]", "[silence]", "[Wait for the caller]",
    "(waits for the caller to finish)", "WAIT_FOR_CALLER", "[not finished]", "[caller not finished]", "[unfinished]",
    "[incomplete]", "wait()", '{"action": "wait"}', "[WAIT] Go on.",
    '{"name": "wait_for_caller", "arguments": {}}', '<tool_call>{"name": "wait"}</tool_call>',
    "<function=wait></function>", "functions.wait()",
]
"""The request to wait, which stands in place of words. The first spelling is the one that the prompt asks for."""

SPEECH = [
    "find us @Ärzte, or @ über the road.", "that is _really_ good, __really__.", "say snake_case and _private_name.",
    "See [END", "[", "a [E] b", "2 < 3", "Yes\n", "a <b", "I am", "See [sales] or [our hours].",
    "Call (now) or later.", "Please *do not call* before nine.", "Hang up and dial again (hang up first).",
    "The end. Call us (at home).", "We may transfer your call. Your transfer(s) went through.",
    "Write to end_call@example.com or info@do-not-call.org.", "See example.com/end_call or end_call.py.",
    "Dial 9 (then wait) *now*.", "{curly} (round) <angle", "I'll end the call. Do not call it a day.",
    "*Really*, use `print` as it is.", "(please transfer the money to savings)",
    "You can *transfer* your number, or *connect*.", "An [TRANSFER of [a] kind", "The file_name is my_file.",
    "Open at nine:\n- Monday\n* Tuesday\n1. Wednesday", "Model trains are here. You are welcome.",
    "wait (here).", "please *wait* here.", "WAITING takes an hour.", "Wait for the caller.",
    "A: no, B: yes.", "Users: many.\nYours is here.\nAgents wait", "the\nend", "$5 <-> $6 and f(x).",
]

SILENT = [
    '{"city": "Paris", "days": 3}', '{"name": "get_weather", "arguments": {"city": "Paris"}}',
    '[{"a": 1}, {"b": "]"}]', 'get_weather(city="Paris")', 'functions.search("a (b) c")',
    '```json\n{"a": 1}\n```', "```\nprint(1)\n", '<tool_call>{"name": "get_weather"}</tool_call>',
    "<tool_response>21 degrees</tool_response>", "<think>They want to know. [END_CALL]</think>",
    "<thinking>Hm.</thinking>", "<reasoning>So they ...", "</think>",
    "<|channel|>analysis<|message|>They ask.<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|eom_id|>", "(You have not said this yet: Friday and Saturday)", "[You have not said this yet: x]",
    '[TOOL_CALLS] [{"name": "get_weather"}]',
    '{"a": {"b": [1, 2',
    PICKS_UP, FINISHED,
]
"""What is not spoken and requests nothing."""

PIECES = [
    *(text for texts in REQUESTS.values() for text in texts), *WAITS, *SPEECH, *SILENT,
    "[", "Hello.", "\n", " ", "User:", "model\n", "<", "[", "{", "(", "*", "`", '"', "\\", "_", "]", ">", ")",
    "end", "call", "transfer", "to", "sales", "END_", "do_not_", "<end_of_turn>", "functions.", "a.b", "`` `",
    "think>", "9", ":", "think\n", "<think>", "</think >", "\\<think\\>", "◁/think▷", "<mm:",
    "\nCustomer: Ann", "\nDate: nine",
    "\n\n", "user", "username", '{"text": "Hi', '"}', "[Calling tool: ", "@END_", "```json\n", "```",
]
"""What texts are put together from that could be read differently when they are cut."""
# fmt: on
