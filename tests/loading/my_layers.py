"""A user's own layers: one registered with Keras, one not."""

import keras


@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2


class Thrice(keras.layers.Layer):
    def call(self, x):
        return x * 3


class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(3, name="dense")

    def call(self, x):
        return self.dense(x)


class Needy(keras.layers.Layer):
    """Takes what no config can hold."""

    def __init__(self, thing, **options):
        super().__init__(**options)
        self.thing = thing

    def call(self, x):
        return x
