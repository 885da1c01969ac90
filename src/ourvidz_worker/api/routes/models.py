"""`/v1/models`: the chat models, for clients that speak OpenAI's protocol."""

from starlette.responses import Response

from ourvidz_worker.api.call import Call
from ourvidz_worker.api.openai.models import find_model, model_list
from ourvidz_worker.domain.errors import NotFound


async def listing(call: Call) -> Response:
    """List the chat models that are served, by every name that is told of them."""
    return call.reply(model_list(call.site.pod.health("chat")))


async def show(call: Call) -> Response:
    """Tell of one chat model, by any name it may be called."""
    card = find_model(call.site.pod.health("chat"), call.name("model"))
    if card is None:
        raise NotFound("No model is served by that name; /v1/models lists them.", field="model")
    return call.reply(card)
