"""Reading the self-check (questions, ends, symptoms, causes) and the glossary."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .model import Alternative, Both, Cause, Flow, Outcome, Parameter, Question, Selfcheck, Symptom, Term
from .table import Table

__all__ = ["ACTIONS", "read_glossary", "read_selfcheck"]

CHANGE = ("none", "recommended", "required", "unknown")
ACTORS = ("nobody", "user", "other_provider", "device_owner", "support")
TYPES = ("text", "bool", "list", "url", "host", "port", "date")
ACTIONS = ("open:guide_picker", "open:symptoms", "open:symptom", "show:other_provider_hint", "show:operator")
_PARAMETER = re.compile(r"operator\.[a-z0-9_]+")


def read_selfcheck(table: Table) -> Selfcheck:
    """Read questions and causes, and check that every chain of questions ends."""
    if table.number("schema") != 1:
        table.complain("schema: is not 1")
    parameters = {each.text("id"): _parameter(each) for each in table.tables("parameter")}
    selfcheck = Selfcheck(
        parameters=parameters,
        flows={each.text("id"): _flow(each) for each in table.tables("flow")},
        questions={each.text("id"): _question(each) for each in table.tables("question")},
        outcomes={each.text("id"): _outcome(each) for each in table.tables("outcome")},
        symptoms={each.text("id"): _symptom(each) for each in table.tables("symptom")},
        causes={each.text("id"): _cause(each) for each in table.tables("cause")},
        alternatives=tuple(_alternative(each) for each in table.tables("alternative")),
    )
    table.finish("id")
    _check_graph(selfcheck, table)
    _check_references(selfcheck, table)
    return selfcheck


def _parameter(table: Table) -> Parameter:
    parameter = Parameter(table.text("id"), table.one_of("type", TYPES), table.both("text"))
    table.finish("default")
    return parameter


def _flow(table: Table) -> Flow:
    flow = Flow(table.text("id"), table.both("title"), table.text("start"))
    table.source()
    table.finish("note")
    return flow


def _question(table: Table) -> Question:
    condition = table.optional_text("skip_unless")
    question = Question(
        id=table.text("id"),
        flow=table.text("flow"),
        text=table.both("text"),
        help=table.optional_both("help"),
        yes=table.text("yes"),
        no=table.text("no"),
        unknown=table.optional_text("unknown"),
        skip_unless=tuple(condition.split(" and ")) if condition else (),
        skip_to=table.optional_text("skip_to"),
    )
    if (condition is None) != (question.skip_to is None):
        table.complain("skip_to: goes with skip_unless")
    table.source()
    table.finish("auto")
    return question


def _outcome(table: Table) -> Outcome:
    outcome = Outcome(
        id=table.text("id"),
        change=table.one_of("change", CHANGE),
        actor=table.one_of("actor", ACTORS),
        text=table.both("text"),
        actions=table.texts("actions", optional=False),
    )
    for action in outcome.actions:
        if not action.startswith(ACTIONS):
            table.complain(f'actions: nobody knows "{action}"')
    table.source()
    table.finish()
    return outcome


def _symptom(table: Table) -> Symptom:
    symptom = Symptom(table.text("id"), table.texts("codes"), table.both("text"), table.texts("causes", optional=False))
    table.source()
    table.finish()
    return symptom


def _cause(table: Table) -> Cause:
    cause = Cause(table.text("id"), table.both("text"), table.both("check"), table.both("remedy"))
    table.source()
    table.finish()
    return cause


def _alternative(table: Table) -> Alternative:
    alternative = Alternative(table.text("id"), table.both("text"), table.optional_text("requires") or "")
    table.source()
    table.finish()
    return alternative


def _check_graph(selfcheck: Selfcheck, table: Table) -> None:
    """Every edge leads somewhere, everything is reached, nothing leads in a circle."""
    edges: dict[str, list[str]] = {name: [] for name in selfcheck.outcomes}
    for question in selfcheck.questions.values():
        following = (question.yes, question.no, question.unknown, question.skip_to)
        edges[question.id] = [each for each in following if each]
        if question.flow not in selfcheck.flows:
            table.complain(f"question {question.id}, flow: there is no {question.flow}")
    reached: set[str] = set()

    def walk(name: str, behind: tuple[str, ...], key: str) -> None:
        if name not in edges:
            table.complain(f"{key}: leads to {name}, which is neither a question nor an outcome")
        elif name in behind:
            table.complain(f"{key}: leads in a circle through {name}")
        elif name not in reached or edges[name]:
            reached.add(name)
            for following in edges[name]:
                walk(following, (*behind, name), f"question {name}")

    for flow in selfcheck.flows.values():
        walk(flow.start, (), f"flow {flow.id}, start")
    for name in edges.keys() - reached:
        table.complain(f"{name}: cannot be reached")


def _check_references(selfcheck: Selfcheck, table: Table) -> None:
    used = {cause for symptom in selfcheck.symptoms.values() for cause in symptom.causes}
    for name in used - selfcheck.causes.keys():
        table.complain(f"symptom, causes: there is no cause {name}")
    for name in selfcheck.causes.keys() - used:
        table.complain(f"cause {name}: no symptom leads to it")
    for where, text in _texts(selfcheck):
        for name in _PARAMETER.findall(text):
            if name not in selfcheck.parameters:
                table.complain(f"{where}: there is no parameter {name}")


def _texts(selfcheck: Selfcheck) -> list[tuple[str, str]]:
    found: list[tuple[str, Both | None]] = []
    for question in selfcheck.questions.values():
        found += [(f"question {question.id}, text", question.text), (f"question {question.id}, help", question.help)]
    found += [(f"outcome {each.id}, text", each.text) for each in selfcheck.outcomes.values()]
    for cause in selfcheck.causes.values():
        found += [(f"cause {cause.id}", each) for each in (cause.text, cause.check, cause.remedy)]
    texts = [(where, text) for where, both in found if both is not None for text in (both.ja, both.en)]
    texts += [
        (f"outcome {each.id}, actions", action) for each in selfcheck.outcomes.values() for action in each.actions
    ]
    texts += [
        (f"question {each.id}, skip_unless", name) for each in selfcheck.questions.values() for name in each.skip_unless
    ]
    texts += [(f"alternative {each.id}, requires", each.requires) for each in selfcheck.alternatives]
    return texts


def read_glossary(table: Table) -> tuple[Term, ...]:
    """Read the terms, in the order of the file."""
    if table.number("schema") != 1:
        table.complain("schema: is not 1")
    terms: dict[str, Term] = {}
    owners: Mapping[str, Table] = {}
    for each in table.tables("term"):
        term = Term(
            id=each.text("id"),
            term=each.both("term"),
            reading=each.text("reading"),
            abbreviation=each.optional_text("abbr"),
            aliases=each.texts("alias"),
            definition=each.both("definition"),
            reference=each.optional_text("ref"),
            see=each.texts("see"),
        )
        each.source()
        each.finish()
        if term.id in terms:
            each.complain("id: stands twice")
        terms[term.id] = term
        owners = {**owners, term.id: each}
    for term in terms.values():
        for name in term.see:
            if name not in terms:
                owners[term.id].complain(f"see: there is no term {name}")
    table.finish("id")
    return tuple(terms.values())
