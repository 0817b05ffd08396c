from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("calls", "0013_webhook_redelivered_at")]

    operations = [
        migrations.AlterField(
            model_name="webhookendpoint",
            name="old_secret",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Replaced secrets, with spaces between them.",
                max_length=400,
            ),
        ),
    ]
