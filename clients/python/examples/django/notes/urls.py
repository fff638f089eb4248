from django.urls import path

from . import views

urlpatterns = [
    path("register", views.register),
    path("login", views.login),
    path("refresh", views.refresh),
    path("devices", views.devices),
    path("devices/<session_id>", views.end_device),
    path("logout-everywhere", views.logout_everywhere),
    path("api-keys", views.create_api_key),
    path("live", views.live),
    path("me", views.me),
    path("notes", views.notes),
]
