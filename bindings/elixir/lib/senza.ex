defmodule Senza do
  @moduledoc """
  A node of a senza cluster in your own VM.

      children = [{Senza, node: "a"}]                       # free port of loopback; connect: "tcp/10.0.0.1:7447"
      {:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, watch} = Senza.register("watch 1", type: "watch")   # ends with this process
      {:ok, 1} = Senza.put("watch 1", "pulse", 72)
      {:ok, reading} = Senza.latest("watch 1", "pulse")
  """

  alias Senza.{Error, Native, Server}

  @typedoc "The name of a node in this VM: what `start_link/1` was given as `name`, or its reference."
  @type node_name :: atom | reference

  @typedoc "A sensor registered by a process of this VM: puts by it need not find the sensor."
  @opaque sensor :: reference

  # Readings that a normal scheduler takes in one call.
  @few 256

  # === a node ===

  @doc false
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      # It says farewell to the others and joins its threads.
      shutdown: 10_000
    }
  end

  @doc "Starts a node and links it to the caller."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options \\ []), do: Server.start_link(options)

  @doc "The node's reference."
  @spec ref(node_name) :: reference
  def ref(name \\ __MODULE__)
  def ref(ref) when is_reference(ref), do: ref
  def ref(name), do: Server.ref(name)

  @doc "The endpoints that a node listens on, ports filled in: what others connect to."
  @spec listening(node_name) :: [String.t()]
  def listening(node \\ __MODULE__) do
    {_name, listening} = Native.describe(ref(node))
    listening
  end

  # === sensors ===

  @doc "Registers a sensor for the calling process, until it ends."
  def register(id) when is_binary(id), do: register(__MODULE__, id, [])
  def register(id, options) when is_binary(id) and is_list(options), do: register(__MODULE__, id, options)
  def register(node, id), do: register(node, id, [])
  def register(node, id, options), do: register_for(ref(node), id, self(), options, true)

  @doc false
  def register_for(ref, id, pid, options, handle_wanted) do
    {type, meta, conflict} =
      case options do
        [] -> {nil, nil, :takeover}
        options -> {options[:type], options[:meta], Keyword.get(options, :conflict, :takeover)}
      end

    case Native.register(ref, id, pid, type, meta, conflict, handle_wanted) do
      {:senza_error, _, _, _} = fault -> Error.of(fault)
      registered -> registered
    end
  end

  # === readings in ===

  @doc "Puts one reading by ids and answers its number."
  def put(node \\ __MODULE__, sensor, attribute, value, options \\ []) do
    case Native.put(ref(node), sensor, attribute, value, time(options)) do
      seq when is_integer(seq) -> {:ok, seq}
      fault -> Error.of(fault)
    end
  end

  def put_many(node \\ __MODULE__, readings) do
    ref = ref(node)
    put = if few?(readings, @few), do: Native.put_few(ref, readings), else: :busy
    put = if put == :busy, do: Native.put_many(ref, readings), else: put

    case put do
      :ok -> :ok
      refused when is_list(refused) -> {:refused, for({at, fault} <- refused, do: {at, elem(Error.of(fault), 1)})}
      fault -> Error.of(fault)
    end
  end

  defp few?([_ | rest], left) when left > 0, do: few?(rest, left - 1)
  defp few?(rest, _), do: not match?([_ | _], rest)

  defp time([]), do: nil
  defp time(time: %DateTime{} = time), do: DateTime.to_unix(time, :microsecond)
  defp time(time: time), do: time

  # === readings out ===

  def latest(node \\ __MODULE__, sensor, attribute) do
    case Native.latest(ref(node), sensor, attribute) do
      {:senza_error, _, _, _} = fault -> Error.of(fault)
      found -> found
    end
  end

  def sensor_ids(_node), do: []
end
