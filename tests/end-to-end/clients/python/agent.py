"""An agent's frontend written against the contracts alone: grpcio, with stubs that protoc made from proto/ in this run.

Signs in with the local issuer, keeps present, watches the desk, opens what rings, answers, fills in the form and ends. On the
way it makes the mistakes a frontend makes and reads the reasons by grpcio-status (google.rpc.Status with ErrorInfo).

Prints `watching` when its desk is on the screen (then a customer may write), and in the end `evidence` with a JSON object.
"""

import argparse
import json
import threading
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hilo.attention.v1 import attention_pb2 as attention
from hilo.attention.v1 import attention_pb2_grpc as attention_grpc
from hilo.event.v1 import event_pb2 as event
from hilo.history.v1 import history_pb2 as history
from hilo.history.v1 import history_pb2_grpc as history_grpc
from hilo.identity.v1 import identity_pb2 as identity
from hilo.identity.v1 import identity_pb2_grpc as identity_grpc
from hilo.routing.v1 import routing_pb2 as routing
from hilo.routing.v1 import routing_pb2_grpc as routing_grpc

# Generous: the machine may be busy with other tests.
PATIENCE = 60
REPLY = "Buenos días, lo revisamos. Señor Núñez, mañana le llega."
refusals = {}


def check(true, what):
    # Not `assert`: python -O would drop it.
    if not true:
        raise SystemExit(f"failed: {what}")


def refused(what, code, reason, call, fields=()):
    """The call fails with this code, and google.rpc.Status says this reason and these fields."""
    try:
        call()
    except grpc.RpcError as error:
        # from_call refuses a status that contradicts the call's own code and message.
        status = rpc_status.from_call(error)
        check(status is not None, f"{what}: no google.rpc.Status in {error}")
        check(error.code() == code, f"{what}: {error.code()} instead of {code}: {error.details()}")
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        check(any(detail.Unpack(info) for detail in status.details), f"{what}: no ErrorInfo in {status}")
        check((info.reason, info.domain) == (reason, "hilo"), f"{what}: {info} instead of {reason}")
        if fields:
            check(any(detail.Unpack(bad) for detail in status.details), f"{what}: no BadRequest in {status}")
            said = [violation.field for violation in bad.field_violations]
            check(said == list(fields), f"{what}: fields {said} instead of {list(fields)}")
        refusals[what] = reason
        return status
    raise SystemExit(f"failed: {what} was not refused")


class Person:
    """A signed-in user."""

    def __init__(self, channel, user, password):
        answer = identity_grpc.IdentityServiceStub(channel).Login(
            identity.LoginRequest(user=user, password=password), timeout=PATIENCE
        )
        check(answer.expires_at.ToSeconds() > time.time(), "the token is valid for a while")
        self.token = [("authorization", f"Bearer {answer.token}")]
        self.session = str(uuid.uuid4())
        self.identity = identity_grpc.IdentityServiceStub(channel)
        self.attention = attention_grpc.AttentionServiceStub(channel)
        self.history = history_grpc.HistoryServiceStub(channel)
        self.routing = routing_grpc.RoutingServiceStub(channel)

    def call(self, method, request):
        return method(request, metadata=self.token, timeout=PATIENCE)

    def beat(self, leave=False):
        return self.call(self.routing.Heartbeat, routing.HeartbeatRequest(session_id=self.session, leave=leave))

    def stay_present(self, stop):
        """Heartbeats until `stop` is set."""
        while not stop.wait(15):
            self.beat()


class Screen:
    """The desk as the stream tells it; newer versions win."""

    def __init__(self, person):
        self.items = {}
        self.stream = person.attention.WatchDesk(
            attention.WatchDeskRequest(channel="email"), metadata=person.token, timeout=5 * PATIENCE
        )
        check(self.read() == "snapshot", "a desk begins with its snapshot")

    def read(self):
        """Takes the next change; answers its kind."""
        change = next(self.stream, None)
        check(change is not None, "the stream of a desk does not end by itself")
        kind = change.WhichOneof("update")
        check(kind is not None, f"an update that the contract does not know: {change}")
        if kind == "snapshot":
            self.items = {item.interaction_id: item for item in change.snapshot.items}
        elif kind == "item":
            known = self.items.get(change.item.interaction_id)
            if known is None or known.version <= change.item.version:
                self.items[change.item.interaction_id] = change.item
        elif kind == "removal":
            self.items.pop(change.removal.interaction_id, None)
        return kind

    def until(self, shown):
        """Reads the stream until `shown` answers something; the call's deadline bounds it."""
        while True:
            found = shown(self.items)
            if found:
                return found
            self.read()

    def close(self):
        self.stream.cancel()
        try:
            for _ in self.stream:
                pass
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.CANCELLED, f"a cancelled stream ends so, not {error.code()}")


def patiently(what, attempt):
    """Asks again until the answer is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = attempt()
        if answer:
            return answer
        time.sleep(0.1)
    raise SystemExit(f"failed: not in {PATIENCE} s: {what}")


def take(person, colleague, customer):
    """From the ring to the opened item."""
    screen = Screen(person)
    print("watching", flush=True)

    def ringing(items):
        return next((item for item in items.values() if item.ringing and item.customer_address == customer), None)

    item = screen.until(ringing)
    check(item.state == event.INTERACTION_STATE_QUEUED and item.campaign_key == "soporte", f"what rings: {item}")
    check(item.offer_deadline_at.ToSeconds() > 0 and item.initials, f"what an item shows: {item}")
    request = attention.OpenInteractionRequest(interaction_id=item.interaction_id, request_id=str(uuid.uuid4()))
    opened = person.call(person.attention.OpenInteraction, request)
    again = person.call(person.attention.OpenInteraction, request)
    check(again.item.version == opened.item.version, "a repeated request gets the same answer")
    check(opened.item.state == event.INTERACTION_STATE_OPEN, "it is open")
    check(opened.messages[0].text.strip() == "¿Dónde está mi colchón? Señora Núñez.", f"the mail: {opened.messages}")
    check([field.key for field in opened.form.fields][:1] == ["motivo"], f"the form: {opened.form}")
    screen.until(lambda items: items[item.interaction_id].state == event.INTERACTION_STATE_OPEN)
    theirs = attention.OpenInteractionRequest(interaction_id=item.interaction_id, request_id=str(uuid.uuid4()))
    refused(
        "open what another has open",
        grpc.StatusCode.FAILED_PRECONDITION,
        "ALREADY_TAKEN",
        lambda: colleague.call(colleague.attention.OpenInteraction, theirs),
    )
    return screen, opened


def converse(person, interaction_id, attention_id):
    """A draft saved twice over, a reply that is sent once although it was asked for twice."""
    draft = attention.SaveDraftRequest(interaction_id=interaction_id, base_version=0, text="Buenos días")
    check(person.call(person.attention.SaveDraft, draft).draft.version == 1, "the first draft is version 1")
    status = refused(
        "save a draft over another",
        grpc.StatusCode.FAILED_PRECONDITION,
        "DRAFT_CHANGED",
        lambda: person.call(person.attention.SaveDraft, draft),
    )
    stored = attention.Draft()
    check(any(detail.Unpack(stored) for detail in status.details), f"no draft in the details of {status}")
    check((stored.version, stored.text) == (1, "Buenos días"), f"the stored draft: {stored}")
    refused(
        "send nothing",
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        lambda: person.call(
            person.attention.SendMessage,
            attention.SendMessageRequest(interaction_id=interaction_id, request_id=str(uuid.uuid4())),
        ),
        fields=["text"],
    )
    reply = attention.SendMessageRequest(interaction_id=interaction_id, request_id=str(uuid.uuid4()), text=REPLY)
    sent = person.call(person.attention.SendMessage, reply).message
    check(person.call(person.attention.SendMessage, reply).message.message_id == sent.message_id, "sent once")

    def delivered():
        page = attention.ListMessagesRequest(attention_id=attention_id, page_size=50)
        thread = person.call(person.attention.ListMessages, page).messages
        check(len(thread) == 2, f"two messages: {thread}")
        return thread[1].delivery_state == "sent"

    patiently("the reply is sent", delivered)
    return sent


def finish(person, interaction_id):
    """Ending needs the form."""
    end = attention.EndInteractionRequest(
        interaction_id=interaction_id, close_attention=True, request_id=str(uuid.uuid4())
    )
    refused(
        "end without the form",
        grpc.StatusCode.FAILED_PRECONDITION,
        "FORM_INCOMPLETE",
        lambda: person.call(person.attention.EndInteraction, end),
        fields=["values.motivo"],
    )
    form = attention.SaveFormRequest(
        interaction_id=interaction_id, base_version=0, values={"motivo": "Devolución", "temas": "Entrega\nPago"}
    )
    check(person.call(person.attention.SaveForm, form).form_state.version == 1, "the form's first version")
    ended = person.call(
        person.attention.EndInteraction,
        attention.EndInteractionRequest(
            interaction_id=interaction_id, close_attention=True, request_id=str(uuid.uuid4())
        ),
    )
    check(ended.interaction.state == event.INTERACTION_STATE_ENDED, f"ended: {ended}")
    check(ended.attention_state == event.ATTENTION_STATE_CLOSED, f"closed: {ended}")


def look_up(person, interaction_id, number):
    """The ended thread, in the history."""
    search = history.SearchThreadsRequest(
        words="colchon", attention_number=number, form_values={"motivo": "Devolución"}, campaign_key="soporte"
    )
    found = patiently("history has it", lambda: person.call(person.history.SearchThreads, search).threads)
    check([thread.interaction_id for thread in found] == [interaction_id], f"found: {found}")
    thread = person.call(person.history.GetThread, history.GetThreadRequest(interaction_id=interaction_id)).thread
    check(len(thread.messages) == 2 and REPLY in thread.messages[1].text, f"the thread: {thread}")


def strangers(channel, front, person):
    """Who may not, learns it by a reason."""
    login = identity_grpc.IdentityServiceStub(channel).Login
    desk = attention_grpc.AttentionServiceStub(channel)
    unknown = attention.OpenInteractionRequest(interaction_id=str(uuid.uuid4()), request_id=str(uuid.uuid4()))
    who = grpc.StatusCode.UNAUTHENTICATED
    wrong = identity.LoginRequest(user="ana", password="otra-frase-larga")
    refused("sign in with a wrong password", who, "UNAUTHENTICATED", lambda: login(wrong, timeout=PATIENCE))
    refused("open without a token", who, "UNAUTHENTICATED", lambda: desk.OpenInteraction(unknown, timeout=PATIENCE))
    watch = attention.WatchDeskRequest(channel="email")
    refused("watch without a token", who, "UNAUTHENTICATED", lambda: next(desk.WatchDesk(watch, timeout=PATIENCE)))
    refused(
        "open what does not exist",
        grpc.StatusCode.NOT_FOUND,
        "INTERACTION_NOT_FOUND",
        lambda: person.call(person.attention.OpenInteraction, unknown),
    )
    with grpc.insecure_channel(front) as other:
        internal = other.unary_unary("/hilo.internal.v1.DirectoryFeedService/GetDirectory")
        try:
            internal(b"", metadata=person.token, timeout=PATIENCE)
            raise SystemExit("failed: an internal method is public")
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.UNIMPLEMENTED, f"an internal method: {error}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--front", required=True, help="host:port")
    arguments.add_argument("--passwords", required=True, help="file with lines `user password`")
    arguments.add_argument("--customer", required=True, help="address of the customer who will write")
    arguments = arguments.parse_args()
    with open(arguments.passwords, encoding="utf-8") as file:
        passwords = dict(line.split() for line in file if not line.startswith("#"))
    stop = threading.Event()
    with grpc.insecure_channel(arguments.front) as channel:
        ana, luis = (Person(channel, user, passwords[user]) for user in ("ana", "luis"))
        who = ana.call(ana.identity.WhoAmI, identity.WhoAmIRequest())
        check((who.user_key, list(who.roles)) == ("ana", ["agent"]), f"who I am: {who}")
        strangers(channel, arguments.front, ana)
        check(not ana.beat().paused, "present")
        presence = threading.Thread(target=ana.stay_present, args=[stop], daemon=True)
        presence.start()
        screen, opened = take(ana, luis, arguments.customer)
        interaction_id = opened.item.interaction_id
        sent = converse(ana, interaction_id, opened.attention.attention_id)
        finish(ana, interaction_id)
        screen.until(lambda items: interaction_id not in items)
        screen.close()
        look_up(ana, interaction_id, opened.attention.number)
        stop.set()
        presence.join()
        ana.beat(leave=True)
    evidence = {
        "attention": opened.attention.attention_id,
        "message_id": sent.internet_message_id,
        "refusals": refusals,
    }
    print("evidence", json.dumps(evidence), flush=True)


if __name__ == "__main__":
    main()
