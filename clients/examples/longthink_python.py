"""Our client: decoders and budgets as arguments, a run that is watched, a run in the background, a trace."""

import os

from clients import LongThink, StepEnded, Trace
from clients.decoders import RC, SelfConsistency

question = "Use 11 9 6 1 to make 49"

with LongThink(base_url=os.environ.get("LONGTHINK_BASE_URL")) as client:
    print(client.solve(question, decoder="rc", budget=4000, seed=1).text)

    run = client.solve(question, decoder=RC(name="rc", turns=8), budget=4000, seed=1)
    for event in run:
        if isinstance(event, StepEnded):
            print(f"{event.kind:<8} {event.tokens:>4} tokens, {run.progress.left} left")

    votes = client.solve(question, decoder=SelfConsistency(name="self_consistency", n=16), seed=1)
    print(votes.wait().progress.votes.most_common(3))

    started = client.start(question, decoder="rc", budget=4000, seed=1)
    print(started.id, started.poll())
    again = client.run(started.id)  # from anywhere, as long as the server keeps it
    again.trace.save("trace.json")
    print(Trace.load("trace.json").text)
