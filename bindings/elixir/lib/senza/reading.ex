defmodule Senza.Reading do
  @moduledoc """
  One data point: one value of one attribute of one sensor at one time.

  `time` is the device's, `received` the owner's, both in microseconds since 1970 (UTC). `{epoch, seq}` names a reading
  of a series for ever: `epoch` is the number of the claim under which the owner numbers them, `seq` counts from 1
  without a hole.

      iex> Senza.Reading.datetime(%Senza.Reading{time: 1_700_000_000_000_000})
      ~U[2023-11-14 22:13:20.000000Z]
  """

  defstruct [:sensor, :attribute, :value, :time, :received, :seq, :epoch, :node, :type]

  @typedoc """
  What can be read: numbers, truth values and UTF-8 text as they are; `{:bytes, binary}`; `{:vector, [float]}` of 32-bit
  floats; maps and lists that are JSON. What a float of the VM cannot be are `:nan`, `:infinity` and `:neg_infinity`.
  """
  @type value ::
          float
          | integer
          | boolean
          | String.t()
          | :nan
          | :infinity
          | :neg_infinity
          | {:bytes, binary}
          | {:vector, [number | :nan | :infinity | :neg_infinity]}
          | map
          | list

  @type t :: %__MODULE__{
          sensor: String.t(),
          attribute: String.t(),
          value: value,
          time: integer,
          received: integer,
          seq: pos_integer,
          epoch: pos_integer,
          node: String.t(),
          type: String.t()
        }

  @doc "The device's time as a `DateTime`."
  @spec datetime(t) :: DateTime.t()
  def datetime(%__MODULE__{time: time}), do: DateTime.from_unix!(time, :microsecond)
end
