// One operation of a client on grpc-go, over ALTS: client --target IP:PORT --handshaker IP:PORT
// [--expect ACCOUNT]… [--deadline SECONDS] [--max-frame-size BYTES] OPERATION [ARGUMENT]…
//
// Prints one line of JSON: the status, what the operation yielded, and what ALTS proved about the
// server. README.md beside the harness describes operations and output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/alts"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"alts-interop/common"
)

func main() {
	var expected []string
	target := flag.String("target", "", "where the server is")
	handshaker := flag.String("handshaker", "", "where the handshaker service is")
	flag.Func("expect", "an account that the server may have (may be repeated)", func(account string) error {
		expected = append(expected, account)
		return nil
	})
	deadline := flag.Float64("deadline", 60, "how long the operation may take, in seconds")
	frameSize := flag.Uint("max-frame-size", 0, "the largest frame to write, in bytes")
	flag.Parse()
	if err := common.MaxFrameSize(*frameSize); err != nil {
		log.Fatal(err)
	}

	credentials := alts.NewClientCreds(&alts.ClientOptions{
		TargetServiceAccounts:    expected,
		HandshakerServiceAddress: *handshaker,
	})
	call, cancel := context.WithTimeout(context.Background(), time.Duration(*deadline*float64(time.Second)))
	defer cancel()
	client := client{call: call, server: &peer.Peer{}}
	client.connect = func(more ...grpc.CallOption) (*grpc.ClientConn, error) {
		return grpc.NewClient(
			*target,
			grpc.WithTransportCredentials(credentials),
			grpc.WithDefaultCallOptions(append(
				more,
				grpc.ForceCodec(common.Codec{}),
				grpc.MaxCallRecvMsgSize(common.AnySize),
				grpc.MaxCallSendMsgSize(common.AnySize),
			)...),
		)
	}
	connection, err := client.connect(grpc.Peer(client.server))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client.connection = connection

	report := map[string]any{}
	answer, err := client.operation(flag.Args())
	if outcome, is := status.FromError(err); !is {
		log.Fatal(err)
	} else if err != nil {
		report["status"], report["details"] = name(outcome.Code()), outcome.Message()
	} else {
		report["status"], report["answer"] = "OK", answer
	}
	if view, err := common.View(client.server); err == nil {
		report["view"] = view
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		log.Fatal(err)
	}
}

// client makes its one call.
type client struct {
	call       context.Context
	connection *grpc.ClientConn
	connect    func(...grpc.CallOption) (*grpc.ClientConn, error)
	// What is known about the server, once the call has ended.
	server *peer.Peer
}

// operation does what the command line says. An error without a status is about the command line.
func (client client) operation(words []string) (any, error) {
	operation, arguments := "", words
	if len(words) > 0 {
		operation, arguments = words[0], words[1:]
	}
	if operation == "restricted" && len(arguments) == 1 {
		_, err := client.unary("Restricted", []byte(arguments[0]))
		return struct{}{}, err
	}
	var numbers []int
	for _, argument := range arguments {
		number, err := strconv.Atoi(argument)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	switch {
	case operation == "echo" && len(numbers) == 1:
		sent := common.Message(0, numbers[0])
		received, err := client.unary("Echo", sent)
		return map[string]bool{"intact": string(received) == string(sent)}, err
	case operation == "peer" && len(numbers) == 0:
		view, err := client.unary("Peer", nil)
		return json.RawMessage(view), err
	case operation == "connections" && len(numbers) == 1:
		return client.connections(numbers[0])
	case len(numbers) != 2:
	case operation == "echo-stream":
		return client.echoStream(numbers[0], numbers[1])
	case operation == "download":
		return client.download(common.Order{Messages: numbers[0], Size: numbers[1]})
	case operation == "upload":
		return client.upload(numbers[0], numbers[1])
	}
	return nil, fmt.Errorf("no such operation, or not its arguments: %q", words)
}

// connections makes a call on each of that many new connections, all at once.
func (client client) connections(count int) (any, error) {
	sent := common.Message(0, 100)
	failures := make(chan error, count)
	for range count {
		connection, err := client.connect()
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		go func() {
			var received []byte
			err := connection.Invoke(client.call, path("Echo"), sent, &received)
			if err == nil && string(received) != string(sent) {
				err = status.Error(codes.DataLoss, "the echo is not what was sent")
			}
			failures <- err
		}()
	}
	for range count {
		if err := <-failures; err != nil {
			return nil, err
		}
	}
	return map[string]int{"intact": count}, nil
}

func (client client) unary(method string, request []byte) (response []byte, err error) {
	err = client.connection.Invoke(client.call, path(method), request, &response)
	return response, err
}

func (client client) echoStream(messages, size int) (any, error) {
	stream, err := client.stream("EchoStream", grpc.StreamDesc{ClientStreams: true, ServerStreams: true})
	if err != nil {
		return nil, err
	}
	// The receiver gets the same error.
	go send(stream, messages, size)
	return receive(stream)
}

func (client client) download(order common.Order) (any, error) {
	stream, err := client.stream("Download", grpc.StreamDesc{ServerStreams: true})
	if err != nil {
		return nil, err
	}
	request, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ignoreEnd(stream.SendMsg(request)), stream.CloseSend()); err != nil {
		return nil, err
	}
	return receive(stream)
}

func (client client) upload(messages, size int) (any, error) {
	stream, err := client.stream("Upload", grpc.StreamDesc{ClientStreams: true})
	if err != nil {
		return nil, err
	}
	if err := send(stream, messages, size); err != nil {
		return nil, err
	}
	var answer []byte
	err = stream.RecvMsg(&answer)
	return json.RawMessage(answer), err
}

func (client client) stream(method string, kind grpc.StreamDesc) (grpc.ClientStream, error) {
	kind.StreamName = method
	return client.connection.NewStream(client.call, &kind, path(method))
}

func path(method string) string {
	return "/" + common.Service + "/" + method
}

func send(stream grpc.ClientStream, messages, size int) error {
	for index := range messages {
		if err := stream.SendMsg(common.Message(index, size)); err != nil {
			return ignoreEnd(err)
		}
	}
	return stream.CloseSend()
}

// ignoreEnd drops the error that a sender gets when the call is over: the receiver gets the reason.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func receive(stream grpc.ClientStream) (any, error) {
	tally := common.NewTally()
	for {
		var message []byte
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return tally, nil
		} else if err != nil {
			return nil, err
		}
		tally.Add(message)
	}
}

// name is the code's, as gRPC writes it.
func name(code codes.Code) string {
	names := map[codes.Code]string{
		codes.Canceled:           "CANCELLED",
		codes.Unknown:            "UNKNOWN",
		codes.InvalidArgument:    "INVALID_ARGUMENT",
		codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
		codes.NotFound:           "NOT_FOUND",
		codes.AlreadyExists:      "ALREADY_EXISTS",
		codes.PermissionDenied:   "PERMISSION_DENIED",
		codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
		codes.FailedPrecondition: "FAILED_PRECONDITION",
		codes.Aborted:            "ABORTED",
		codes.OutOfRange:         "OUT_OF_RANGE",
		codes.Unimplemented:      "UNIMPLEMENTED",
		codes.Internal:           "INTERNAL",
		codes.Unavailable:        "UNAVAILABLE",
		codes.DataLoss:           "DATA_LOSS",
		codes.Unauthenticated:    "UNAUTHENTICATED",
	}
	return names[code]
}
