defmodule Senza.Sensor do
  @moduledoc """
  A sensor of this VM, by the handle that `Senza.register/3` answers.

  The handle knows the sensor's place, so that puts need not find it. It may be used by any process; the registration is
  that of the process that registered, and ends with it. After that, puts answer `:not_registered`, or `:not_owner`
  where another node took the sensor over.
  """

  alias Senza.{Error, Feed, Native, Reading}

  @opaque t :: {reference, non_neg_integer, non_neg_integer, reference}

  @doc "Puts one reading and answers its number; `time` as in `Senza.put/5`."
  @spec put(t, String.t(), Reading.value(), keyword) :: {:ok, pos_integer} | {:error, Error.t()}
  def put(sensor, attribute, value, options \\ []) do
    case Native.put_to(sensor, attribute, value, Senza.source_time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      {:senza_error, :busy, _, _} -> put_large(sensor, attribute, value, options)
      fault -> Error.of(fault)
    end
  end

  defp put_large(sensor, attribute, value, options) do
    case Native.put_large_to(sensor, attribute, value, Senza.source_time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      fault -> Error.of(fault)
    end
  end

  @doc """
  `put/4` that waits for readers of this node whose contract says `overflow: {:block, ms}`, each at most so long. Runs
  on a dirty scheduler.
  """
  @spec put_wait(t, String.t(), Reading.value(), keyword) :: {:ok, pos_integer} | {:error, Error.t()}
  def put_wait(sensor, attribute, value, options \\ []) do
    case Native.put_wait(sensor, attribute, value, Senza.source_time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      fault -> Error.of(fault)
    end
  end

  @doc "Makes attributes without a reading: a device that waits to be watched makes its own first."
  @spec declare(t, [String.t()]) :: :ok | {:error, Error.t()}
  def declare(sensor, attributes) do
    unless is_list(attributes) and Enum.all?(attributes, &String.valid?/1) do
      raise ArgumentError, "attributes must be a list of strings, got: #{inspect(attributes)}"
    end

    sensor |> Native.declare(attributes) |> Senza.checked()
  end

  @doc "`Senza.follow_demand/3` of this sensor: the feed ends with this registration."
  @spec follow_demand(t, keyword) :: {:ok, Senza.feed()} | {:error, Error.t()}
  def follow_demand(sensor, options \\ []), do: Feed.follow_demand(&Native.follow_demand_of(sensor, &1), options)

  @doc "Its id."
  @spec id(t) :: String.t()
  def id(sensor), do: sensor |> described() |> elem(1)

  @doc "The number of the claim that was made by registering it."
  @spec epoch(t) :: pos_integer
  def epoch(sensor), do: sensor |> described() |> elem(2)

  @doc "The process that it is registered for."
  @spec owner(t) :: pid
  def owner(sensor), do: sensor |> described() |> elem(3)

  defp described(sensor) do
    case Native.describe_sensor(sensor) do
      {:senza_error, _, _, _} = fault -> raise elem(Error.of(fault), 1)
      described -> described
    end
  end

  @doc "Ends the registration before its process ends; answers whether it stood."
  @spec leave(t) :: boolean | {:error, Error.t()}
  def leave(sensor), do: sensor |> Native.leave() |> Senza.checked()
end
