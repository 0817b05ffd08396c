"""
Removes the columns of the dialler's pace that pauses have replaced, and keeps a pause that is still in them.

Migration 0012 took them out of the models only, and left a pause behind. A dispatcher that began with a version before
0012 and still runs finds no columns from here on: it dials nothing until it is restarted, and loses nothing.
"""

from django.db import migrations, models
from django.utils import timezone


def keep_pause(apps, schema_editor):
    alias, now = schema_editor.connection.alias, timezone.now()
    pace = apps.get_model("calls", "DialPace").objects.using(alias).filter(paused_until__gt=now).first()
    if pace is None:
        return
    engines = pace.reason.startswith("engines: ")
    apps.get_model("calls", "DialPause").objects.using(alias).get_or_create(
        scope="everything",
        subject="",
        cause="engines" if engines else "carrier",
        defaults={
            "until": pace.paused_until,
            "reason": pace.reason.removeprefix("engines: "),
            "failures": max(1, pace.failures),
        },
    )


class Migration(migrations.Migration):
    dependencies = [("calls", "0015_redact_numbers")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField("dialpace", "failures", models.PositiveIntegerField(db_default=0, default=0)),
                migrations.AddField("dialpace", "paused_until", models.DateTimeField(null=True)),
                migrations.AddField(
                    "dialpace", "reason", models.CharField(blank=True, db_default="", default="", max_length=255)
                ),
            ],
        ),
        migrations.RunPython(keep_pause, migrations.RunPython.noop, elidable=True),
        migrations.RemoveField("dialpace", "failures"),
        migrations.RemoveField("dialpace", "paused_until"),
        migrations.RemoveField("dialpace", "reason"),
    ]
