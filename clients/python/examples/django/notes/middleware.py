"""What Django makes of a refusal in a view: a login may end between the verification of the request and the view's transaction."""

from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from auth_ext import Refused, Unavailable


class Refusals(MiddlewareMixin):
    def process_exception(self, request: HttpRequest, error: Exception) -> JsonResponse | None:
        if isinstance(error, Refused):
            return JsonResponse({"error": "invalid_token"}, status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if isinstance(error, Unavailable):
            return JsonResponse({"error": "temporarily_unavailable"}, status=503, headers={"Retry-After": "1"})
        return None
