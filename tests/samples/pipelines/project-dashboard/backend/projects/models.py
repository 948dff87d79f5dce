from django.db import models


class Project(models.Model):
    name = models.CharField(max_length=63, unique=True)
    done = models.PositiveSmallIntegerField(default=0)

    @property
    def finished(self) -> bool:
        return self.done == 100

    def finish(self) -> None:
        self.done = 100
        self.save()
