"""The component ``workers_ai``: a model's endpoint, and the operation that routes may use."""

from reference_impl.messages import Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.workers_ai.endpoint import Endpoint, EndpointSettings


def build(settings: EndpointSettings, context: Context) -> Endpoint:
    """Build an instance."""
    return Endpoint(settings, name=context.name)


async def infer(endpoint: Endpoint, call: Call) -> Response:
    """Ask the model what the request's body says, or about its key if it has none."""
    prompt = call.body.decode("utf-8", "replace") or f"key {call.key}"
    answer = await endpoint.run(prompt, call.stopwatch, key=call.key)
    usage = {
        "prompt_tokens": answer.tokens_in,
        "completion_tokens": answer.tokens_out,
        "total_tokens": answer.tokens_in + answer.tokens_out,
    }
    return json_response({"success": True, "result": {"response": answer.text, "usage": usage}})


PART = Part("workers_ai", settings=EndpointSettings.read, build=build, operations={"infer": Operation(infer)})
